"""Whatever a candidate does: the caller's time is bounded, its transaction its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from reporting.models import Activity

from django_strangler.experiments import experiment
from django_strangler.experiments.background import background
from django_strangler.services import service
from tests.services_client.servers import serving

from .sleeping import sleep_in_sql

TIMEOUT = 0.3
LONG = 60  # Seconds.
# What a loaded machine may take for all the rest.
PATIENCE = 20.0
leaked: list[Any] = []


def sleeps_in_sql(alias: str) -> None:
    sleep_in_sql(connections[alias], LONG)


def sleeps_in_a_service(alias: str) -> None:
    service("payments").get("/")


def raises(alias: str) -> None:
    raise ZeroDivisionError


def exits(alias: str) -> None:
    raise SystemExit(1)


def breaks_the_transaction(alias: str) -> None:
    with contextlib.suppress(DatabaseError), connections[alias].cursor() as cursor:
        cursor.execute("SELECT * FROM there_is_no_such_table")


def asks_for_a_rollback(alias: str) -> None:
    transaction.set_rollback(True, using=alias)


def leaks_a_connection(alias: str) -> None:
    another = connections[alias].copy()
    another.inc_thread_sharing()  # The test closes it, from another thread.
    another.ensure_connection()
    leaked.append(another)


def recurses(alias: str) -> None:
    recurses(alias)


def returns_a_lot(alias: str) -> bytes:
    return b"x" * 50_000_000


MISDEEDS: list[Callable[[str], Any]] = [
    sleeps_in_sql,
    sleeps_in_a_service,
    raises,
    exits,
    breaks_the_transaction,
    asks_for_a_rollback,
    leaks_a_connection,
    recurses,
    returns_a_lot,
]


@pytest.fixture
def alias(any_db, settings):
    with serving(lambda talk: talk.hang()) as server:
        payments = {"URL": server.url, "TIMEOUT": LONG}
        settings.STRANGLER = {"SERVICES": {"payments": payments}}
        yield any_db
    while leaked:
        leaked.pop().close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["inline", "after"])
def test_the_caller_pays_at_most_the_deadline_and_keeps_its_transaction(alias, when):
    for misdeed in MISDEEDS:
        name = misdeed.__name__
        control = experiment(
            name,
            candidate=misdeed,
            when=when,
            timeout=TIMEOUT,
            using=[alias],
            allow=["http"],
        )(lambda alias: "control")
        began = time.monotonic()

        with transaction.atomic(using=alias):
            write(alias, f"{name} before")
            assert control(alias) == "control", name
            write(alias, f"{name} after")
        took = time.monotonic() - began
        background.wait()

        assert took < (TIMEOUT if when == "inline" else 0) + PATIENCE, name
        found = Activity.objects.using(alias).filter(type__startswith=name)
        assert found.count() == 2, name


def write(alias: str, type: str) -> None:
    Activity.objects.using(alias).create(day=date(2026, 1, 1), type=type[:50])
