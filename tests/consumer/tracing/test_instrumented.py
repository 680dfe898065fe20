"""The same trace, whatever else is instrumented."""

from __future__ import annotations

import pytest
from celery import Celery
from django.db import transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from opentelemetry.trace import SpanKind

from django_strangler import publish_event, subscribe, tracing
from django_strangler.outbox.relay import Relay
from tests.consumer.conftest import effect, effects
from tests.consumer.tracing.spans import (
    PARENT,
    ids,
    parent_of,
    processed,
)
from tests.waiting import wait_for

on_postgresql = pytest.mark.parametrize("db", ["postgresql"], indirect=True)


on_both = pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)


@pytest.mark.parametrize("traceparent", ["00-zz-zz-99", b"\xff\xfe", 7])
def test_a_forged_context_is_none(
    db, broker, registry, consume, spans, instrumented, traceparent
):
    subscribe("payment.*", name="receipts")(lambda event: None)
    consume()
    broker.publish(headers={"traceparent": traceparent})
    (process,) = wait_for(lambda: processed(spans, broker))

    assert process.parent is None


def complete(request):
    with transaction.atomic(using=request.GET["db"]):
        publish_event("payment.completed", {"n": 1}, using=request.GET["db"])
    return HttpResponse()


urlpatterns = [path("complete/", complete)]


@on_postgresql  # Whose driver is instrumented.
@override_settings(ROOT_URLCONF=__name__)
def test_with_everything_instrumented_it_is_one_trace_still(
    db, broker, registry, consume, spans, instrumented
):
    @subscribe("payment.*", name="receipts")
    def receipts(event):
        effect(db)

    running = consume(retry_delays=(0.05,))
    relay_settings = {"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True

    with override_settings(STRANGLER=relay_settings):
        Client().get(f"/complete/?db={db}")

        @app.task(name="drain")
        def drain():
            Relay(db, steady=False).drain()

        drain.delay()
    with tracing.untraced():  # The test's own looking.
        wait_for(lambda: effects(db) == 1)
    running.finish()

    (view,) = [span for span in spans() if span.kind is SpanKind.SERVER]
    (published,) = [
        span for span in spans() if span.name.startswith(f"publish {broker.exchange}")
    ]
    (process,) = processed(spans, broker)
    trace_id, view_id = ids(view)
    assert parent_of(published) == view_id
    assert parent_of(process) == ids(published)[1]
    assert {ids(span)[0] for span in (published, process)} == {trace_id}
    inside = [span for span in spans() if parent_of(span) == ids(process)[1]]
    # psycopg's: the inbox row and the effect.
    assert len([span for span in inside if span.name == "INSERT"]) == 2
    # Neither the relay nor the consumer adds anything but one span for the batch.
    roots = [span.name for span in spans() if span.parent is None]
    assert sorted(roots) == sorted([view.name, "run/drain", f"send {broker.exchange}"])


@on_both
def test_an_idle_relay_and_an_idle_consumer_make_no_spans(
    db, broker, registry, consume, spans, instrumented
):
    running = consume()
    with override_settings(
        STRANGLER={"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
    ):
        relay = Relay(db, steady=False)
        for _ in range(3):
            relay.drain()
    wait_for(lambda: running.consumer._row._shown > 0)
    running.finish()

    assert [span.name for span in spans()] == []


def test_copies_for_retries_keep_the_trace(
    db, broker, registry, consume, spans, instrumented
):
    @subscribe("payment.*", name="receipts")
    def receipts(event):
        raise LookupError

    consume(retry_delays=())
    broker.publish(headers=PARENT)
    properties, _ = wait_for(broker.get)

    # The instrumentation of pika replaces what is published over its channels.
    sent = properties.headers["traceparent"]
    (process,) = wait_for(lambda: processed(spans, broker))
    assert sent.split("-")[2] == parent_of(process)
