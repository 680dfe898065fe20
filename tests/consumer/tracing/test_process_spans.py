"""One trace from the view to the subscriber."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest
from django.db import transaction
from django.test import override_settings
from opentelemetry import baggage, context, trace
from opentelemetry.trace import SpanKind, StatusCode

from django_strangler import publish_event, subscribe, tracing
from django_strangler.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from tests.consumer.conftest import effect
from tests.consumer.tracing.spans import (
    PARENT,
    SPAN,
    TRACE,
    ids,
    named,
    parent_of,
    processed,
)
from tests.waiting import wait_for


@pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)
def test_the_process_span_is_a_child_of_the_header_s_context(
    db, broker, registry, consume, spans, provider
):
    tracer = provider.get_tracer("test")

    @subscribe("payment.*", name="receipts")
    def receipts(event):
        with tracer.start_as_current_span("inside"):
            effect(db)

    consume()
    id = broker.publish(headers=PARENT, correlation_id="order-1")
    (process,) = wait_for(lambda: processed(spans, broker))

    assert process.kind is SpanKind.CONSUMER
    assert ids(process)[0] == TRACE
    assert parent_of(process) == SPAN
    assert dict(process.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": (
            f"{broker.exchange}:payment.completed:{broker.queue}"
        ),
        "messaging.rabbitmq.destination.routing_key": "payment.completed",
        "messaging.message.id": id,
        "messaging.message.conversation_id": "order-1",
        "server.address": urlsplit(broker.url).hostname,
        "server.port": urlsplit(broker.url).port,
    }
    (inside,) = named(spans, "inside")
    assert parent_of(inside) == ids(process)[1]


@pytest.mark.parametrize(
    "none", [trace.NoOpTracerProvider(), trace.ProxyTracerProvider()]
)
def test_without_an_sdk_what_a_subscriber_publishes_stays_in_the_trace(
    db, broker, registry, consume, monkeypatch, none
):
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: none)
    captured = []

    @subscribe("payment.*", name="receipts")
    def receipts(event):
        token = context.attach(baggage.set_baggage("user", "7"))
        captured.append(tracing.capture())
        context.detach(token)

    consume()
    broker.publish(headers=PARENT)
    wait_for(lambda: captured)

    assert captured == [PARENT]  # And no baggage.


def test_each_failed_delivery_has_its_span_with_the_error(
    db, broker, registry, consume, spans
):
    failures = [1]

    @subscribe("payment.*", name="receipts")
    def receipts(event):
        if failures:
            failures.pop()
            raise LookupError("no account")

    consume(retry_delays=(0.05,))
    broker.publish(headers=PARENT)
    failed, passed = wait_for(
        lambda: found if len(found := processed(spans, broker)) == 2 else None
    )

    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "LookupError"
    assert [event.name for event in failed.events] == ["exception"]
    assert passed.status.status_code is StatusCode.UNSET
    assert {parent_of(failed), parent_of(passed)} == {SPAN}


def test_what_comes_long_after_it_failed_begins_a_trace_that_links_back(
    db, broker, registry, consume, spans
):
    subscribe("payment.*", name="receipts")(lambda event: None)
    consume()
    long_ago = datetime.now(timezone.utc) - timedelta(hours=2)
    broker.publish(
        headers={**PARENT, "strangler-failed-first": long_ago.isoformat()},
        exchange="",  # As a retry queue hands it back.
        routing_key=broker.queue,
    )
    (process,) = wait_for(lambda: processed(spans, broker))

    assert process.parent is None
    assert ids(process)[0] != TRACE
    (link,) = process.links
    assert f"{link.context.trace_id:032x}" == TRACE


def test_a_relay_that_sends_an_old_event_begins_a_trace_that_links_back(
    db, broker, registry, consume, spans, provider
):
    consume().finish()
    with (
        provider.get_tracer("test").start_as_current_span("view") as view,
        transaction.atomic(using=db),
    ):
        publish_event("payment.completed", {}, using=db)
    hour_ago = datetime.now(timezone.utc) - timedelta(hours=1, minutes=1)
    OutboxEvent.objects.using(db).update(published_at=hour_ago)
    with override_settings(
        STRANGLER={"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
    ):
        Relay(db, steady=False).drain()

    (published,) = [span for span in spans() if span.name.startswith("publish ")]
    assert published.parent is None
    assert published.links[0].context.trace_id == view.get_span_context().trace_id


@pytest.mark.parametrize(
    ("log_errors", "is_kept"), [("text", True), ("type", False)], ids=["text", "type"]
)
def test_a_span_keeps_what_an_error_quotes_where_that_is_allowed(
    db, broker, registry, consume, spans, settings, log_errors, is_kept
):
    settings.STRANGLER = {"LOG_ERRORS": log_errors}

    @subscribe("payment.*", name="broken")
    def broken(event):
        raise ValueError("no account DE02")

    consume(retry_delays=())
    broker.publish()
    (process,) = wait_for(lambda: processed(spans, broker))

    assert process.status.status_code is StatusCode.ERROR
    assert process.attributes["error.type"] == "ValueError"
    assert ("DE02" in process.to_json()) is is_kept


@pytest.mark.parametrize(
    ("app", "is_linked"),
    [("monolith", False), ("somebody", True)],
    ids=["own", "alien"],
)
def test_the_trace_of_another_application_is_linked_and_no_parent(
    db, broker, registry, consume, spans, app, is_linked
):
    subscribe("payment.*", name="receipts")(lambda event: None)
    consume()
    broker.publish(headers=PARENT, app_id=app)
    (process,) = wait_for(lambda: processed(spans, broker))

    assert (process.parent is None) is is_linked
    assert (ids(process)[0] != TRACE) is is_linked
    linked = [f"{link.context.trace_id:032x}" for link in process.links]
    assert linked == [TRACE] * is_linked
