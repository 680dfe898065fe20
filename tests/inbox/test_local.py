"""local://: this process's subscribers, through the outbox, without any server."""

from __future__ import annotations

from opentelemetry import trace

from django_strangler import conf, publish_event, subscribe
from django_strangler.events import Event
from django_strangler.inbox.local import LocalBroker
from django_strangler.models import OutboxEvent
from tests.inbox.databases import effect, effects, entries
from tests.inbox.factories import publish, relay


def test_an_event_reaches_its_subscribers_and_is_confirmed(any_db, routed, registry):
    routed(any_db)
    seen: list[Event] = []
    subscribe("payment.*", name="first")(seen.append)
    subscribe("#", name="second")(lambda event: effect(any_db))
    published = publish(using=any_db, key="payment-1", correlation_id="c1")

    totals = relay(any_db).drain()

    assert totals.confirmed == 1
    assert [(e.id, e.type, e.payload, e.key, e.correlation_id) for e in seen] == [
        (published.id, "payment.completed", {"paymentId": 1}, "payment-1", "c1")
    ]
    assert seen[0].published_at is not None
    assert seen[0].published_at.tzinfo is not None
    assert effects(any_db) == 1
    assert entries(any_db) == {("first", published.id), ("second", published.id)}
    assert OutboxEvent.objects.using(any_db).confirmed().count() == 1


def test_an_event_that_nobody_subscribes_to_is_unroutable(any_db, routed, registry):
    routed(any_db)
    publish("user.signup", using=any_db)

    relay(any_db).drain()

    row = OutboxEvent.objects.using(any_db).get()
    assert (row.state, row.parked_reason) == ("parked", "unroutable")
    assert row.last_error.startswith(
        "No subscriber of this project is for this type (looked in: users.subscribers, "
        "payments.subscribers, "
    )
    assert "replay_events --unroutable" in row.last_error


def test_an_event_decided_off_is_routed_but_not_for_the_flagged_subscriber(
    any_db, routed, registry
):
    routed(any_db)
    seen: list[Event] = []
    subscribe("payment.*", name="modern", flag="notifications-v2")(seen.append)

    class Decision:
        name = "notifications-v2"

        def __init__(self, on: bool) -> None:
            self.on = on

        def __bool__(self) -> bool:
            return self.on

    publish(using=any_db, flags=[Decision(False)])
    moved = publish(using=any_db, flags=[Decision(True)])
    publish(using=any_db)

    totals = relay(any_db).drain()

    assert totals.confirmed == 3
    assert [event.id for event in seen] == [moved.id]


def test_events_that_a_subscriber_publishes_go_out_as_well(any_db, routed, registry):
    routed(any_db)
    seen: list[str] = []

    @subscribe("payment.completed", name="chain")
    def chain(event: Event) -> None:
        publish_event("receipt.sent", {}, key=event.key, using=any_db)

    subscribe("receipt.*", name="end")(lambda event: seen.append(event.key))
    publish(using=any_db, key="payment-7")

    relay(any_db).drain()

    assert seen == ["payment-7"]


def test_a_rolled_back_subscribers_events_never_go_out(any_db, routed, registry):
    routed(any_db)

    @subscribe("payment.completed", name="chain")
    def chain(event: Event) -> None:
        publish_event("receipt.sent", {}, using=any_db)
        raise RuntimeError

    publish(using=any_db)

    relay(any_db).drain()

    assert not OutboxEvent.objects.using(any_db).filter(type="receipt.sent").exists()


def test_the_same_event_twice_has_one_effect(any_db, routed, registry):
    routed(any_db)
    subscribe("payment.*", name="once")(lambda event: effect(any_db))
    publish(using=any_db)
    relay(any_db).drain()
    OutboxEvent.objects.using(any_db).update(confirmed_at=None)

    relay(any_db).drain()

    assert effects(any_db) == 1
    assert OutboxEvent.objects.using(any_db).confirmed().count() == 1


def test_the_trace_goes_on_in_the_subscriber(sqlite_db, routed, registry, monkeypatch):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
        InMemorySpanExporter,
    )

    routed(sqlite_db)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    inside: list[int] = []
    subscribe("#", name="traced")(
        lambda event: inside.append(trace.get_current_span().get_span_context().span_id)
    )
    with provider.get_tracer("view").start_as_current_span("POST /payments") as view:
        publish(using=sqlite_db)

    relay(sqlite_db).drain()

    process = next(
        s for s in exporter.get_finished_spans() if s.name.startswith("proc")
    )
    assert process.name == "process traced"
    assert process.context.trace_id == view.get_span_context().trace_id
    assert process.parent.span_id == view.get_span_context().span_id
    assert inside == [process.context.span_id]


def test_where_events_go_is_said_with_the_subscribers_names(registry):
    settings = conf.current()
    assert "there is no subscriber (looked in:" in LocalBroker.destination(settings)

    for number in range(7):
        subscribe("#", name=f"s{number}")(print)

    assert LocalBroker.destination(settings) == (
        "local:// (subscribers: s0, s1, s2, s3, s4 and 2 more)"
    )
