"""Metrics: the right numbers, few labels, and nothing that costs."""

from __future__ import annotations

import pytest
from django.db import OperationalError, transaction

from django_strangler import counting, feature_flags, publish_event
from django_strangler.brokers import Kind
from django_strangler.events import Event
from django_strangler.exceptions import StranglerError
from django_strangler.inbox import handling
from django_strangler.inbox.subscribers import Subscriber
from django_strangler.models import Pause
from django_strangler.monitoring import metrics, recent
from django_strangler.monitoring import tally as tallied
from django_strangler.monitoring.metrics import StranglerCollector
from django_strangler.monitoring.tally import BUCKETS, Tally
from django_strangler.outbox.pauses import pause
from tests.monitoring.factories import add, add_consumer, add_held, add_relay
from tests.relay.conftest import far
from tests.relay.factories import make_relay, publish

__all__ = ["far"]


def samples(collector: StranglerCollector) -> dict[str, float]:
    """What a scrape shows: values by name and labels."""
    return {
        sample.name
        + "".join(f" {name}={value}" for name, value in sample.labels.items()): (
            sample.value
        )
        for family in collector.collect()
        for sample in family.samples
    }


@pytest.fixture
def tally():
    tally = Tally()
    for metric in (tallied.confirmed, tallied.parked, tallied.publish_to_confirm):
        metric.reset()
    tally.listen()
    yield tally
    tally.ignore()


def test_the_database_s_part_is_what_a_look_sees(db):
    add_relay(db, lanes=30)
    add(db, published=90)
    add(db, parked=5, parked_reason="unroutable")
    add(db, parked=5, parked_reason="unroutable", type="user.created")
    add_consumer(db, queue="receipts")
    add_consumer(db, queue="audit", left=-50)
    add_held(db)
    pause(Pause.Scope.KEY, "payment:7", using=db)

    found = samples(StranglerCollector([db]))

    at = f" database={db}"
    assert found[f"strangler_up{at}"] == 1
    assert found[f"strangler_pending_events{at}"] == 1
    assert found[f"strangler_oldest_due_seconds{at}"] == pytest.approx(90, abs=30)
    assert found[f"strangler_parked_events{at} reason=unroutable"] == 2
    assert found[
        f"strangler_held_seconds{at} type=payment.completed cause=nacked"
    ] == pytest.approx(300, abs=30)
    assert found[f"strangler_active_pauses{at} scope=key"] == 1
    assert found[f"strangler_active_pauses{at} scope=all"] == 0
    assert found[f"strangler_live_relays{at}"] == 1
    assert found[f"strangler_held_lanes{at}"] == 30
    assert found[f"strangler_live_consumers{at} queue=receipts"] == 1
    assert found[f"strangler_live_consumers{at} queue=audit"] == 0


def test_without_a_name_it_is_the_outbox_s_database(db):
    assert f"strangler_up database={db}" in samples(StranglerCollector())


@pytest.mark.django_db
def test_scraping_often_looks_seldom(django_assert_num_queries, monkeypatch):
    monkeypatch.setattr(metrics, "LOOK_EVERY", 600.0)
    collector = StranglerCollector()
    with django_assert_num_queries(4):
        for _ in range(10):
            list(collector.collect())


@pytest.mark.django_db
def test_a_database_that_is_away_does_not_end_the_scrape(monkeypatch):
    def fail(using: str) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(recent, "look", fail)

    found = samples(StranglerCollector())

    assert found["strangler_up database=default"] == 0
    assert "strangler_events_published_total" in found
    assert "strangler_pending_events database=default" not in found


@pytest.mark.django_db
def test_registering_it_costs_no_query(django_assert_num_queries):
    registry = metrics.CollectorRegistry(auto_describe=True)
    with django_assert_num_queries(0):
        registry.register(StranglerCollector())


@pytest.mark.django_db
def test_published_events_are_counted_where_they_are_published():
    name = "strangler_events_published_total"
    before = samples(StranglerCollector())[name]
    with transaction.atomic():
        publish_event("payment.completed", {})
        publish_event("payment.completed", {})

    assert samples(StranglerCollector())[name] == before + 2


@pytest.mark.django_db
def test_flag_decisions_are_counted_by_flag_and_outcome():
    feature_flags.set_rollout("metered", 100)
    feature_flags.is_enabled("metered", 7)

    found = samples(StranglerCollector())

    assert found["strangler_flag_decisions_total flag=metered outcome=on"] == 1


def test_what_relays_do_is_counted(sqlite_db, far, tally):
    publish(sqlite_db, "a", "b", "c")
    publish(sqlite_db, "d", type="audit.seen")
    far.bind("payments", "payment.*")
    relay = make_relay(sqlite_db, far)
    relay.drain()

    found = samples(StranglerCollector((), relays=[relay], tally=tally))

    assert found["strangler_events_confirmed_total"] == 3
    assert found["strangler_events_parked_total reason=unroutable"] == 1
    assert found["strangler_failures_total kind=unknown"] == 0
    assert found["strangler_publish_to_confirm_seconds_count"] == 3
    assert found["strangler_publish_to_confirm_seconds_bucket le=+Inf"] == 3
    assert found["strangler_publish_to_confirm_seconds_bucket le=30.0"] == 3
    assert 0 < found["strangler_publish_to_confirm_seconds_sum"] < 60


def test_failures_are_counted_by_whose_fault_it_is(sqlite_db, far, tally):
    publish(sqlite_db, "a")
    far.fail(Kind.UNKNOWN, times=2)
    far.fail(Kind.REJECTED, times=1)
    relay = make_relay(sqlite_db, far)
    relay.drain()

    found = samples(StranglerCollector((), relays=[relay], tally=tally))

    assert found["strangler_failures_total kind=unknown"] == 2
    assert found["strangler_failures_total kind=rejected"] == 1


def test_calls_of_subscribers_are_counted_by_outcome(sqlite_db, routed):
    def fail(event: Event) -> None:
        raise StranglerError("no")

    routed(sqlite_db)
    event = Event(type="payment.completed", payload={})
    mails, ledger = (
        Subscriber(name=f"metered-{name}", patterns=("#",), flag=None, handler=handler)
        for name, handler in (("mails", lambda event: None), ("ledger", fail))
    )
    handling.handle(mails, event)
    handling.handle(mails, event)
    with pytest.raises(StranglerError):
        handling.handle(ledger, event)

    found = samples(StranglerCollector(()))

    name = "strangler_subscriber_calls_total subscriber=metered-"
    assert found[f"{name}mails outcome=handled"] == 1
    assert found[f"{name}mails outcome=duplicate"] == 1
    assert found[f"{name}ledger outcome=failed"] == 1


def test_the_histogram_goes_by_the_database_s_clock(sqlite_db, far, tally):
    tally.host_ahead = -100.0  # Then the database's time is 100 s more than ours.
    publish(sqlite_db, "a")
    make_relay(sqlite_db, far).drain()

    ((counts, _),) = tallied.publish_to_confirm.values().values()
    assert counts[BUCKETS.index(300)] == 1


def test_a_broker_is_connected_blocked_or_neither(sqlite_db, far, tally):
    relay = make_relay(sqlite_db, far)
    collector = StranglerCollector((), relays=[relay], tally=tally)

    def seen() -> tuple[float, float]:
        found = samples(collector)
        return (
            found["strangler_broker_connected"],
            found["strangler_broker_blocked"],
        )

    assert seen() == (0, 0)
    relay.broker.open()
    assert seen() == (1, 0)
    far.mend(trouble="low on memory", blocked=True)
    assert seen() == (1, 1)
    far.mend(trouble="connection refused")
    assert seen() == (0, 0)


def test_no_label_holds_what_is_endless(sqlite_db, far, tally):
    collector = StranglerCollector([], relays=[make_relay(sqlite_db, far)], tally=tally)
    # What is counted is bounded by its registry: tests/ground/test_counting.py.
    counted = {f"strangler_{name}" for name in counting.registered()}
    labels = {
        label
        for family in collector.collect()
        if family.name not in counted
        for sample in family.samples
        for label in sample.labels
    }

    assert labels <= {"database", "reason", "queue", "kind", "le", "flag"}
