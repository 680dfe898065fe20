"""One trace from the view to the subscriber, whatever else is instrumented."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest
from celery import Celery
from django.db import transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_strangler import publish_event, subscribe, tracing
from django_strangler.inbox import consumer as consumer_module
from django_strangler.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from tests.waiting import wait_for

from .conftest import effect, effects

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture
def db(request, make_db, routed):
    """Made at once, unless a test names the databases that it is about."""
    return routed(make_db(getattr(request, "param", "sqlite")))


on_postgresql = pytest.mark.parametrize("db", ["postgresql"], indirect=True)
on_both = pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def tried_once(quick, monkeypatch):
    monkeypatch.setattr(consumer_module, "IN_PLACE", ())


@pytest.fixture
def provider(monkeypatch):
    """A tracer provider of the test's own: the global one can be set only once."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def spans(provider):
    """What has ended, by name, when it is asked."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


@pytest.fixture
def instrumented(provider):
    """Everything that a project may have instrumented."""
    all = [PikaInstrumentor(), PsycopgInstrumentor(), CeleryInstrumentor()]
    for each in all:
        each.instrument(tracer_provider=provider, skip_dep_check=True)
    DjangoInstrumentor().instrument(
        tracer_provider=provider, is_sql_commentor_enabled=False
    )
    yield
    for each in [*all, DjangoInstrumentor()]:
        each.uninstrument()


def named(spans, name):
    return [span for span in spans() if span.name == name]


def processed(spans, broker):
    return named(spans, f"process {broker.exchange}:payment.completed:{broker.queue}")


def ids(span):
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent_of(span):
    return f"{span.parent.span_id:016x}" if span.parent else None


@on_both
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
    broker.publish(headers={**PARENT, "strangler-failed-first": long_ago.isoformat()})
    (process,) = wait_for(lambda: processed(spans, broker))

    assert process.parent is None
    assert ids(process)[0] != TRACE
    (link,) = process.links
    assert f"{link.context.trace_id:032x}" == TRACE


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
    wait_for(lambda: running.consumer._presence._row is not None)
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
    (process,) = processed(spans, broker)
    assert sent.split("-")[2] == parent_of(process)


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
