"""The AsyncAPI document, read by AsyncAPI's own parser; and the page drawn from it."""

from __future__ import annotations

import json
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from django_strangler.contracts import reads
from django_strangler.inbox.subscribers import subscribe

from .conftest import TYPE, value
from .test_events import Everything

PAGE = (
    Path(__file__).parents[2] / "docs" / "reference" / "events_of_the_test_project.md"
)


def parsed(tools: Path, document: str) -> dict:
    done = subprocess.run(
        ["node", "asyncapi.js"],
        cwd=tools,
        input=document,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_own_parser_finds_nothing_wrong(world, contract_tools):
    cls = world.declare(TYPE, Everything, key="orders.order", owner="orders")
    subscribe(cls, name="invoices")(lambda event: None)
    old = world.declare("order.paid", value("Paid", id=str))
    world.declare(
        "order.paid.v2",
        value("Paid2", id=str),
        replaces=old,
        downcast=lambda each: old(id=each.id),
        until="2030-03-01",
    )
    world.write()

    _code, document = world.run("asyncapi")

    assert parsed(contract_tools, document) == {
        "errors": [],
        "messages": ["order.paid", "order.paid.v2", TYPE],
    }


def test_the_parser_does_find_what_is_wrong(world, contract_tools):
    world.declare(TYPE)
    document = json.loads(world.run("asyncapi")[1])
    document["operations"][f"send-{TYPE}"]["action"] = "sing"

    assert parsed(contract_tools, json.dumps(document))["errors"]


def test_it_says_who_sends_what_and_who_receives_it(world):
    cls = world.declare(TYPE, value(id=str), key="orders.order", owner="orders")
    subscribe(reads(TYPE)(value("Label", id=str)), name="labels")(lambda event: None)
    subscribe("order.*", name="activity")(lambda event: None)
    world.need("billing", {"type": "object"})

    document = json.loads(world.run("asyncapi")[1])

    channel = document["channels"][TYPE]
    assert channel["bindings"]["amqp"]["exchange"]["name"] == "domain-events"
    assert sorted(document["operations"]) == [
        f"receive-{TYPE}-activity",
        f"receive-{TYPE}-billing",
        f"receive-{TYPE}-labels",
        f"send-{TYPE}",
    ]
    message = document["components"]["messages"][TYPE]
    assert (message["x-key"], message["x-owner"]) == ("orders.order", "orders")
    assert (
        message["payload"]["properties"]
        == cls.__strangler_contract__.schema["properties"]
    )


def test_no_credentials_are_in_it(world, settings):
    settings.STRANGLER = {"BROKER_URL": "amqps://relay:s3cret@rabbit-1/"}
    world.declare(TYPE)

    _code, document = world.run("asyncapi")

    assert "s3cret" not in document
    assert "rabbit-1" not in document
    assert "servers" not in json.loads(document)


@pytest.mark.django_db
def test_the_page_of_the_test_project_is_what_it_is_drawn_from():
    out = StringIO()
    call_command("strangler_contracts", "asyncapi", "--page", stdout=out)

    assert PAGE.read_text() == out.getvalue(), (
        "Write it anew: manage.py strangler_contracts asyncapi --page"
    )
