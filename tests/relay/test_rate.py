"""A recovered service is not run over: so many events a second."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from django_strangler.brokers import memory
from django_strangler.clock import DatabaseNow
from django_strangler.management.commands import replay_events
from django_strangler.models import HeldType
from django_strangler.outbox.draining import Draining
from django_strangler.outbox.rate import Rate
from tests.relay.factories import make_relay, pending, publish, rows_sent


class Clock:
    """A time that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_no_rate_is_no_limit() -> None:
    rate = Rate(0, Clock())
    rate.spend(10_000)

    assert rate.allows(500) == 500
    assert rate.pause == 0.0


def test_a_tenth_of_a_second_goes_at_once_and_the_rest_as_time_goes_by() -> None:
    rate = Rate(100, clock := Clock())

    assert rate.allows(500) == 10
    rate.spend(10)
    assert rate.allows(500) == 0
    assert rate.pause == pytest.approx(0.01)

    clock.now = 0.05
    assert rate.allows(500) == 5
    clock.now = 60.0
    assert rate.allows(500) == 10  # What was not used is not saved.


def test_less_than_ten_a_second_go_one_by_one() -> None:
    rate = Rate(2, clock := Clock())
    rate.spend(rate.allows(9))

    assert rate.pause == pytest.approx(0.5)
    clock.now = 0.5
    assert rate.allows(9) == 1


def test_a_relay_sends_no_more_than_its_rate(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    clock = Clock()
    rows = publish(sqlite_db, *[f"k{n}" for n in range(40)])
    relay = make_relay(sqlite_db, far, rate=100, monotonic=clock)
    relay.broker.open()

    for _ in range(5):
        relay.step()
    assert len(far.sent) == 10

    for _ in range(3):
        clock.now += 0.1
        for _ in range(3):
            relay.step()
    assert sorted(rows_sent(far)) == rows


def test_a_relay_with_a_rate_drains_everything(
    any_db: str, far: memory.MemoryExchange
) -> None:
    publish(any_db, *[f"k{n}" for n in range(60)])

    totals = make_relay(any_db, far, rate=200).drain()

    assert totals.confirmed == 60
    assert pending(any_db) == 0


def test_a_drain_does_not_lose_patience_with_its_own_rate(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    clock = Clock()
    publish(sqlite_db, "k1", "k2")
    relay = make_relay(sqlite_db, far, rate=1, monotonic=clock)
    relay.broker.open()
    draining = Draining(relay._work, relay._reading, relay._sending, patience=0.5)
    for _ in range(5):
        relay.step()
    assert len(far.sent) == 1
    assert not draining.idle_beyond_patience(relay.totals)

    clock.now = 0.9
    assert not draining.idle_beyond_patience(relay.totals)

    clock.now = 1.6  # By now, something else is the matter.
    assert draining.idle_beyond_patience(relay.totals) == pytest.approx(0.6)


def test_a_type_that_opens_again_keeps_to_the_rate(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    clock = Clock()
    far.bind("others", "other.#")
    publish(sqlite_db, *[f"k{n}" for n in range(60)])
    make_relay(sqlite_db, far, unroutable_grace=30.0).drain()
    HeldType.objects.using(sqlite_db).update(probe_at=DatabaseNow(-1))
    far.bind("payments", "payment.#")
    far.sent.clear()
    relay = make_relay(sqlite_db, far, rate=100, unroutable_grace=30.0, monotonic=clock)
    relay.broker.open()

    for _ in range(20):
        relay.step()

    assert 1 <= len(far.sent) <= 10


def test_many_held_types_do_not_keep_the_loop_from_its_lease(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    relay = make_relay(sqlite_db, far, rate=1, monotonic=Clock())
    for number in range(20):
        relay.held.refuse(f"type.{number}", number, "nacked", "full", -100.0)
    relay.leases.keep()
    relay._sending._rate.spend(1)
    waited: list[float] = []
    relay.stop.wait = waited.append  # type: ignore[assignment, method-assign]

    relay._probing.probe()

    assert waited == [pytest.approx(0.1)]


def test_a_replay_with_a_rate_pauses_between_its_batches(
    sqlite_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(sqlite_db, *[f"k{n}" for n in range(7)])
    make_relay(sqlite_db, far).drain()
    seen: list[Any] = []
    monkeypatch.setattr(
        replay_events, "wait", lambda seconds: seen.append(pending(sqlite_db))
    )

    command = ["replay_events", "--no-input", "--confirmed", "--type", "#"]
    call_command(*command, "--rate", "3", database=sqlite_db, stdout=StringIO())

    assert seen == [3, 6]
    assert pending(sqlite_db) == 7
