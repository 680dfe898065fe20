"""A route's flag is guarded from the first, and a failing service switches it off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from django_strangler import evidence, feature_flags
from django_strangler.evidence.noting import counts
from django_strangler.facade import route
from django_strangler.feature_flags import guards
from django_strangler.feature_flags.watch import watch
from django_strangler.models import Flag, Guard, Incident
from django_strangler.services import breakers
from django_strangler.services.circuit import State

FLAG, SOURCE = "payments-v2", "route:payments-api"


@pytest.fixture(autouse=True)
def nothing_noted(db: Any, settings: Any) -> Any:
    """Evidence is counted from nothing, and so are the guards of it."""
    settings.STRANGLER = {
        **settings.STRANGLER,
        "SERVICES": {"payments": {"URL": "http://payments.example"}},
    }
    counts.restart()
    watch.forget()
    yield
    counts.restart()
    watch.forget()


@pytest.fixture
def payments() -> None:
    route("payments-api", "/api/payments/", service="payments", flag=FLAG)


def note(number: int, *, ok: bool, side: Any = "modern", seconds: float = 0.1) -> None:
    for _ in range(number):
        evidence.note(SOURCE, side=side, ok=ok, seconds=seconds)


def is_on() -> bool:
    return Flag.objects.get(name=FLAG).enabled


def test_the_flag_of_a_route_is_created_with_a_guard(payments):
    feature_flags.set_rollout(FLAG, 5, by="ada")

    guard = Guard.objects.get()
    assert (guard.flag, guard.action, guard.sources) == (FLAG, "off", [SOURCE])
    rule = guards.rule_of(guard)
    assert rule == replace(guards.DEFAULT, slower=None)  # The hop is slower.


def test_twenty_failures_in_a_row_switch_it_off(payments):
    feature_flags.set_rollout(FLAG, 100)
    note(50, ok=True)
    note(19, ok=False)
    evidence.flush()
    assert is_on()

    note(1, ok=False)
    evidence.flush()

    assert not is_on()
    assert not feature_flags.is_enabled(FLAG, 1)
    assert Incident.objects.get().source == SOURCE


def test_failures_of_the_legacy_side_do_not(payments):
    feature_flags.set_rollout(FLAG, 50)

    note(20, ok=False, side="legacy")
    evidence.flush()

    assert is_on()


def test_being_slower_does_not(payments):
    feature_flags.set_rollout(FLAG, 50)

    note(1000, ok=True, side="legacy", seconds=0.01)
    note(1000, ok=True, seconds=5)
    evidence.flush()

    assert is_on()
    assert not Incident.objects.exists()


def test_all_routes_of_a_flag_are_watched(payments):
    route("refunds-api", "/api/refunds/", service="payments", flag=FLAG)

    feature_flags.set_rollout(FLAG, 5)

    assert Guard.objects.get().sources == [SOURCE, "route:refunds-api"]


def test_a_guard_that_was_removed_stays_so(payments):
    feature_flags.set_rollout(FLAG, 5)
    feature_flags.remove_guard(FLAG)

    feature_flags.set_rollout(FLAG, 50)

    assert not Guard.objects.exists()


def test_the_flag_of_no_route_has_no_guard(payments):
    feature_flags.set_rollout("notifications-v2", 5)

    assert not Guard.objects.exists()


def test_a_service_that_is_away_for_a_moment_is_the_breakers_business(
    client, make_route
):
    """Legacy answers meanwhile. Who is not back at the first probe, is thrown out."""
    make_route("http://127.0.0.1:1")
    feature_flags.set_rollout(FLAG, 100)
    circuit = breakers.registry.get("payments").circuit

    for _ in range(40):
        assert client.get("/api/payments/1/")["Strangler-Side"] == "legacy"
    evidence.flush()
    assert circuit.state is State.OPEN
    assert evidence.seen(SOURCE)["modern"].failed == circuit.limits.in_a_row
    assert is_on()

    circuit.until = 0.0  # The first probe is due.
    for _ in range(20):
        assert client.get("/api/payments/1/")["Strangler-Side"] == "legacy"
    evidence.flush()

    assert not is_on()


def test_a_breaker_that_is_still_open_is_no_fault_of_what_was_let_in_again(
    client, make_route, serve
):
    """Else a service that is mended and resumed is thrown out for what was before."""

    def down(talk: Any) -> None:
        talk.read()
        talk.answer(b"{}", "500 Broken")

    make_route(serve(down))
    feature_flags.set_rollout(FLAG, 100)
    for _ in range(20):  # The first five are answered, and then the breaker is open.
        client.get("/api/payments/1/")
    evidence.flush()
    assert not is_on()

    feature_flags.resume(FLAG, why="it is mended")
    for _ in range(20):
        assert client.get("/api/payments/1/")["Strangler-Side"] == "legacy"
    evidence.flush()

    assert is_on()
