"""``strangler_contracts``: exit codes, and what it says to people and programs."""

from __future__ import annotations

import json
import re
from typing import Annotated

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_strangler.brokers.rabbitmq.wire import properties
from django_strangler.contracts import limits, reads
from django_strangler.contracts.checks import check_contracts
from django_strangler.contracts.declare import registry
from django_strangler.contracts.snapshots import Store
from django_strangler.inbox.subscribers import subscribe
from tests.brokers.factories import outgoing

from .conftest import TYPE, value

Small = Annotated[int, limits(least=0, most=9)]

pytestmark = pytest.mark.django_db


@pytest.fixture
def broken(world):
    """A field that somebody reads is gone."""
    world.need("billing", {"type": "object", "required": ["note"]})
    world.change(value(id=str, note=str), value(id=str))
    return world


def test_what_is_not_written_is_5_until_it_is(world):
    world.declare(TYPE)

    code, said = world.run("check")
    assert code == 5
    assert f"NOT WRITTEN  {world.store.root}/{TYPE}/1.0.json" in said

    assert world.run("write")[0] == 0
    assert world.run("check") == (0, "1 event: 0 breaks, 0 warnings, 0 notes.\n")


def test_a_break_is_3_and_says_whom_it_hurts_and_how(broken):
    code, said = broken.run("check")

    assert code == 3
    assert said.splitlines()[:3] == [
        f"BREAK  {TYPE}  1.0 -> 1.1  /note  REQUIRED_REMOVED  hurts: billing",
        '       {"id": "text"}   <- billing cannot read this',
        f"       -> Keep it as it was, or publish a new major of {TYPE} beside it.",
    ]


def test_a_break_is_not_written(broken):
    code, said = broken.run("write")

    assert code == 3
    assert "Nothing was written" in said
    assert [each.label for each in broken.store.of(TYPE)] == ["1.0"]


def test_an_accepted_break_is_written(broken):
    broken.accept(
        {
            "type": TYPE,
            "rule": "REQUIRED_REMOVED",
            "path": "/note",
            "reason": "billing has been told",
            "until": "2999-01-01",
        }
    )

    assert broken.run("write")[0] == 0
    code, said = broken.run("check")

    assert code == 0
    assert "NOTE " in said
    assert "Accepted until 2999-01-01: billing has been told" in said


def test_a_warning_fails_when_it_shall(world):
    world.change(value(id=str), value(id=str, total=Small))
    world.write()

    assert world.run("check")[0] == 0
    code, said = world.run("check", "--strict")
    assert code == 3
    assert "WARN   order.placed  1.0 -> 1.1  /total  REQUIRED_ADDED" in said
    assert "write @upcast('order.placed', 1, …)" in said


def test_what_cannot_be_judged_is_1(world):
    world.declare(TYPE)
    world.need("billing", {"oneOf": []})

    code, said = world.run("check")

    assert code == 1
    assert "the keyword 'oneOf', which the rules do not know" in said


def test_a_module_of_contracts_that_cannot_be_imported_is_1(world, monkeypatch):
    monkeypatch.setattr(registry, "_discovered", False)
    monkeypatch.setattr(registry, "_failure", "")

    def fail(module):
        raise ImportError(module)

    monkeypatch.setattr("django_strangler.contracts.declare.import_module", fail)

    assert world.run("check")[0] == 1
    (message,) = check_contracts(None)
    assert (message.id, "cannot be imported" in message.msg) == (
        "strangler_contracts.E001",
        True,
    )


@pytest.mark.parametrize("arguments", [[], ["judge"], ["check", "--no-such-option"]])
def test_a_wrong_use_is_2(arguments, capsys):
    from django.core.management import ManagementUtility

    with pytest.raises(SystemExit) as ended:
        ManagementUtility(["manage.py", "strangler_contracts", *arguments]).execute()

    assert ended.value.code == 2


def test_for_programs_there_is_json(broken):
    code, said = broken.run("check", "--json", "--not-live")
    told, _end = json.JSONDecoder().raw_decode(said)

    assert code == 3
    (verdict,) = told["verdicts"]
    assert verdict["sample"] == {"id": "text"}
    assert (verdict["level"], verdict["rule"]) == ("BREAK", "REQUIRED_REMOVED")
    assert told["not_written"] == [
        f"{broken.store.root}/{TYPE}/1.1.json",
        f"{broken.store.root}/samples/{TYPE}.json",
    ]


def test_for_a_code_review_there_are_annotations(broken):
    _code, said = broken.run("check", "--github")

    assert said.startswith(
        f"::error title={TYPE} 1.0 -> 1.1 /note REQUIRED_REMOVED hurts: billing::"
        '{"id": "text"}   <- billing cannot read this%0A-> Keep it'
    )


def test_diff_says_field_by_field_what_is_to_be_written(world):
    world.change(
        value(id=str, note=(str, ""), total=Small),
        value(id=str, total=Annotated[int, limits(most=99)], lines=(list[str], ())),
    )

    code, said = world.run("diff")

    assert code == 0
    assert said.splitlines() == [
        f"{TYPE} 1.0 -> 1.1",
        "  + /lines optional array",
        "  + /lines/* string",
        "  - /note optional string",
        "  ~ /total integer, minimum 0, maximum 9 -> integer, maximum 99",
    ]


def test_needs_say_who_reads_what(world):
    world.declare(TYPE)
    world.need("billing", {"properties": {"id": {"type": "string"}}})
    label = reads(TYPE)(value("Label", id=str))
    subscribe(label, name="labels")(lambda event: None)

    assert world.run("needs")[1].splitlines() == [
        f"{TYPE}  billing  /id",
        f"{TYPE}  labels  /id",
    ]
    assert json.loads(world.run("needs", "--json")[1])[1] == {
        "type": TYPE,
        "reader": "labels",
        "reads": ["/id"],
    }


def test_snapshots_are_the_same_whoever_writes_them(world):
    """Sorted, with one kind of line end: a diff shows what has changed, and no more."""
    world.declare(TYPE, value(b=str, a=str))
    world.write()

    text = (world.store.root / TYPE / "1.0.json").read_bytes()

    assert b"\r" not in text
    assert text.endswith(b"}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_samples_are_messages_as_they_come(world):
    world.declare(TYPE, value(id=str, note=(str, "")), version=2, key="orders.order")
    world.write()
    (whole, least) = world.store.read(world.store.root / f"samples/{TYPE}.json")[
        "messages"
    ]
    event = outgoing(7, TYPE, key="orders.order:1", headers={"contract-version": 2})

    real = vars(properties(event, event.headers, "monolith"))

    given = {name for name, each in real.items() if each is not None}
    in_node = {re.sub(r"_(.)", lambda m: m[1].upper(), name) for name in given}
    assert {*whole["properties"]} == in_node
    assert {*whole["properties"]["headers"]} == {*real["headers"]}
    assert (whole["content"], least["content"]) == (
        {"id": "text", "note": "text"},
        {"id": "text"},
    )


def test_the_contracts_of_the_test_project_are_written_and_hurt_nobody():
    try:
        call_command("strangler_contracts", "check", "--strict")
    except CommandError as error:
        pytest.fail(str(error))


def test_checks_say_what_is_not_written(world, settings):
    settings.BASE_DIR = world.store.root.parent
    world.declare(TYPE)
    assert check_contracts(None) == []  # No folder: a host that only runs the code.

    world.write()
    assert check_contracts(None) == []
    world.declare(TYPE, value(id=str, note=(str, "")))

    (message,) = check_contracts(None)
    assert message.id == "strangler_contracts.W001"
    assert Store().root == world.store.root


def test_checks_say_which_upcaster_is_never_called(world, settings):
    settings.BASE_DIR = world.store.root.parent
    from django_strangler.contracts import upcast

    world.declare(TYPE)
    upcast(TYPE, 1, 2)(dict)

    (message,) = check_contracts(None)
    assert message.id == "strangler_contracts.W002"
