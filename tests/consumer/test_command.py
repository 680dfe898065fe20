"""The door: what it refuses, and with which exit code."""

from __future__ import annotations

import uuid

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.test import override_settings

from django_strangler import subscribe
from django_strangler.inbox.handling import inbox_alias
from tests.brokers.rabbit import with_options
from tests.waiting import wait_for

from .processes import consumer, said

pytestmark = pytest.mark.django_db


def refused(*arguments: str, url: str = "amqp://127.0.0.1:1") -> CommandError:
    with (
        override_settings(STRANGLER={"BROKER_URL": url}),
        pytest.raises(CommandError) as raised,
    ):
        call_command("consume_events", "--queue", "receipts", *arguments)
    return raised.value


def test_without_subscribers_there_is_nothing_to_consume(registry):
    error = refused()

    assert "There are no subscribers" in str(error)
    assert error.returncode == 1


def test_a_module_that_cannot_be_imported_is_named(registry):
    subscribe("payment.*", name="any")(print)
    registry.broken_modules["shop.subscribers"] = "ImportError: no shop"

    assert "shop.subscribers cannot be imported" in str(refused())


def test_a_wanted_pattern_is_not_unbound(registry):
    subscribe("payment.*", name="any")(print)

    assert refused("--unbind", "payment.*").returncode == 2


@pytest.mark.parametrize("url", ["local://", "memory://"])
def test_a_broker_without_queues_is_refused(registry, url):
    subscribe("payment.*", name="any")(print)

    assert "no queues to consume from" in str(refused(url=url))


@pytest.mark.parametrize(
    "bad",
    [
        ["--prefetch", "0"],
        ["--threads", "x"],
        ["--retry-delays", "-1"],
        ["--queue", "amq.mine"],
        ["--queue", "x" * 300],
    ],
)
def test_wrong_options_are_usage_errors(registry, bad):
    subscribe("payment.*", name="any")(print)

    assert bad[0].lstrip("-") in str(refused(*bad))


def test_an_unreachable_broker_is_waited_for_until_the_process_is_stopped(
    postgresql_db, broker
):
    broker.url = "amqp://127.0.0.1:1"
    with consumer(postgresql_db, broker) as process:
        wait_for(lambda: "cannot be reached" in said(process))
        process.terminate()

        assert process.wait(90) == 0, said(process)


def test_what_may_not_be_declared_is_said_with_the_reason(
    postgresql_db, broker, rabbitmq
):
    me, vhost = f"nobody-{uuid.uuid4().hex[:8]}", broker.url.rpartition("/")[2]
    rabbitmq.ctl("add_user", me, "secret")
    rabbitmq.ctl("set_permissions", "-p", vhost, me, ".*", "^$", ".*")
    broker.url = with_options(broker.url, user=me, password="secret")
    try:
        with consumer(postgresql_db, broker) as process:
            assert process.wait(90) == 1, said(process)
            text = said(process)
    finally:
        rabbitmq.ctl("delete_user", me)

    assert "nor can it be declared: ACCESS_REFUSED" in text
    assert "It is tried again" not in text


def test_queues_that_cannot_be_used_end_the_process_with_1(postgresql_db, broker):
    with consumer(postgresql_db, broker, "--no-declare") as process:
        assert process.wait(90) == 1, said(process)
        assert "cannot be used: NOT_FOUND" in said(process)


@pytest.mark.parametrize(
    ("pool", "is_small"), [(True, True), ({"max_size": 8}, False), (None, False)]
)
def test_a_pool_too_small_for_the_threads_is_said(
    registry, monkeypatch, capsys, pool, is_small
):
    subscribe("payment.*", name="any")(print)
    options = connections[inbox_alias()].settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "pool", pool)

    refused("--threads", "4", url="memory://")

    said = capsys.readouterr().err
    assert ("has 4 connections" in said and "set max_size to 8" in said) is is_small
