"""The monolith sends payments to the service, and takes them back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import router

from django_strangler import feature_flags
from tests.waiting import wait_for

from .examples import EXAMPLES
from .test_same_behaviour import play

pytestmark = pytest.mark.slow


@pytest.fixture
def rollout(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: database)

    def rollout(percentage: int) -> None:
        feature_flags.set_rollout("payments-v2", percentage, by="me", why="test")

    return rollout


def test_a_key_is_one_key_on_both_sides(start_monolith, start_service, people, rollout):
    monolith = start_monolith(PAYMENTS_SERVICE_URL=start_service().url)
    charge = {"user": people["user"], "amount": "1.00", "currency": "EUR"}

    def pay(key: str) -> tuple[int, str | None, str | None, Any]:
        status, headers, body = monolith.call(
            "POST", "/payments/", charge, Idempotency_Key=key
        )
        return status, headers["Strangler-Side"], headers["Idempotent-Replayed"], body

    rollout(0)
    wait_for(lambda: side(monolith) == "legacy")
    first = pay("k-1")
    rollout(100)
    wait_for(lambda: side(monolith) == "modern")
    again, other = pay("k-1"), pay("k-2")
    rollout(0)
    wait_for(lambda: side(monolith) == "legacy")
    back = pay("k-2")

    assert first[:3] == (201, "legacy", None)
    assert again == (201, "modern", "true", first[3])
    assert other[:3] == (201, "modern", None)
    assert back == (201, "legacy", "true", other[3])


def side(api: Any, method: str = "GET", body: Any = None) -> str | None:
    _, headers, _ = api.call(method, "/payments/?user=0", body)
    return headers["Strangler-Side"]


def test_the_examples_hold_through_the_facade(
    start_monolith, start_service, people, rollout
):
    rollout(100)
    monolith = start_monolith(PAYMENTS_SERVICE_URL=start_service().url)
    wait_for(lambda: side(monolith) == "modern")

    for name in EXAMPLES:
        play(monolith, name, people)


def test_users_go_and_come_back_and_a_crash_is_nobody_s_loss(
    start_monolith, start_service, people, rollout
):
    rollout(0)
    service = start_service(BUGS="1")
    monolith = start_monolith(PAYMENTS_SERVICE_URL=service.url)
    charge = {"user": people["user"], "amount": "1.00", "currency": "EUR"}
    assert side(monolith) == "legacy"

    rollout(100)
    wait_for(lambda: side(monolith) == "modern")
    service.call("PUT", "/__bugs", {"errors": 1})
    assert side(monolith) == "legacy"
    service.call("PUT", "/__bugs", {})
    service.stop()

    status, headers, made = monolith.call("POST", "/payments/", charge)

    assert (status, headers["Strangler-Side"]) == (201, "legacy"), made
    rollout(0)
    wait_for(lambda: side(monolith) == "legacy")
    assert monolith.call("GET", f"/payments/{made['id']}/")[0] == 200
