"""The doctor, sent to set-ups that are sound, and to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
import pytest
from django.apps import apps
from django.test import override_settings

from django_strangler.findings import Level
from django_strangler.monitoring.doctor import Diagnosis, Doctor
from tests.inbox.conftest import registry
from tests.monitoring.factories import add_relay

__all__ = ["registry"]

Examine = Callable[..., list[Diagnosis]]


@pytest.fixture(autouse=True)
def no_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the test project are in another database than the one of the test."""
    if apps.is_installed("django_strangler.moves"):
        from django_strangler.moves.capturing import captures

        for name in list(captures):
            monkeypatch.delitem(captures, name)


@pytest.fixture
def examine(routed, registry) -> Examine:
    """examine(alias, BROKER_URL=…): what the doctor says, without subscribers."""

    def run(alias: str, *, management: str = "", **strangler: Any) -> list[Diagnosis]:
        routed(alias)
        with override_settings(STRANGLER=strangler):
            return list(Doctor(alias, management=management).examine())

    return run


def troubles(found: list[Diagnosis]) -> list[tuple[str, str, str]]:
    return [(it.part, it.what, it.todo) for it in found if it.level is Level.TROUBLE]


def only_trouble(found: list[Diagnosis]) -> tuple[str, str, str]:
    given = troubles(found)
    assert len(given) == 1, given
    return given[0]


@pytest.fixture
def sound(sqlite_db) -> str:
    add_relay(sqlite_db)
    return sqlite_db


@pytest.fixture
def each_sound(any_db) -> str:
    add_relay(any_db)
    return any_db


@pytest.fixture
def rabbit(vhost, postgresql_db) -> dict[str, str]:
    """Settings of a sound RabbitMQ: an exchange, and a queue for payments."""
    if vhost.prefix:
        pytest.skip("the doctor's rabbit needs a vhost of its own")
    add_relay(postgresql_db)
    with Side(vhost.url) as channel:
        channel.exchange_declare("domain-events", "topic", durable=True)
        channel.queue_declare("payments", durable=True)
        channel.queue_bind("payments", "domain-events", "payment.*")
    return {"BROKER_URL": vhost.url}


class Side:
    """RabbitMQ, as its administrator."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))

    def __enter__(self) -> Any:
        return self._connection.channel()

    def __exit__(self, *error: object) -> None:
        self._connection.close()
