"""The span of sending: one per message, in the trace of whoever published the event."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler

from django_strangler.brokers import Kind
from tests.brokers import factories
from tests.brokers.contract import collect, until_ready


def outgoing(row, *given, **fields):
    """Published just now: what is old begins a trace of its own."""
    now = datetime.now(timezone.utc)
    return factories.outgoing(row, *given, published_at=now, **fields)


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STORED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}


@pytest.fixture
def use_provider(monkeypatch):
    """The global provider can be set once per process; tests want their own."""

    def use(provider):
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    return use


@pytest.fixture
def exporter(use_provider):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_provider(provider)
    return exporter


def send(rabbit, make_rabbit, *events):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    until_ready(broker).send(events)
    return collect(broker, [event.row for event in events])


def test_each_message_has_a_span_in_the_trace_of_its_event(
    rabbit, make_rabbit, exporter
):
    rabbit.bind("all", "payment.*")

    send(
        rabbit,
        make_rabbit,
        outgoing(1, headers={**STORED, "tenant": "x"}, correlation_id="order-1"),
        outgoing(2),
    )

    first, second = exporter.get_finished_spans()
    destination = f"{rabbit.exchange}:payment.completed"
    assert first.name == f"publish {destination}"
    assert first.kind is trace.SpanKind.PRODUCER
    assert f"{first.context.trace_id:032x}" == TRACE
    assert f"{first.parent.span_id:016x}" == SPAN
    host, port = rabbit.url.split("@")[1].split("/")[0].split(":")
    assert dict(first.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": "payment.completed",
        "messaging.message.id": outgoing(1).id,
        "messaging.message.conversation_id": "order-1",
        "server.address": host,
        "server.port": int(port),
    }
    assert second.parent is None
    assert second.context.trace_id != first.context.trace_id
    for (_, properties, _), span in zip(
        rabbit.take("all", 2), (first, second), strict=True
    ):
        version, trace_id, span_id, _ = properties.headers["traceparent"].split("-")
        assert version == "00"
        assert trace_id == f"{span.context.trace_id:032x}"
        assert span_id == f"{span.context.span_id:016x}"
        if span is first:
            assert properties.headers["tracestate"] == "vendor=1"
            assert properties.headers["tenant"] == "x"


def test_a_returned_message_ends_its_span_with_an_error(rabbit, make_rabbit, exporter):
    rabbit.bind("all", "payment.*")

    found = send(rabbit, make_rabbit, outgoing(1, "user.created", headers=STORED))

    assert found[1].kind is Kind.RETURNED
    [span] = exporter.get_finished_spans()
    assert span.attributes["error.type"] == "returned"
    assert span.status.status_code is trace.StatusCode.ERROR


def test_a_nacked_message_ends_its_span_with_an_error(rabbit, make_rabbit, exporter):
    rabbit.bind("all", "#", **{"x-max-length": 1, "x-overflow": "reject-publish"})
    events = [outgoing(row, headers=STORED) for row in range(1, 20)]

    found = send(rabbit, make_rabbit, *events)

    nacked = [each for each in found.values() if each.kind is Kind.UNKNOWN]
    errors = [
        span.attributes.get("error.type") for span in exporter.get_finished_spans()
    ]
    assert errors.count("nack") == len(nacked) > 0


def test_an_unsampled_trace_is_passed_on_as_well(rabbit, make_rabbit, use_provider):
    use_provider(TracerProvider(sampler=ALWAYS_OFF))
    rabbit.bind("all", "#")

    send(rabbit, make_rabbit, outgoing(1, headers=STORED))

    [(_, properties, _)] = rabbit.take("all", 1)
    _, trace_id, _, flags = properties.headers["traceparent"].split("-")
    assert trace_id == TRACE
    assert int(flags, 16) & 1 == 0


def test_a_failure_of_tracing_is_not_the_event_s(
    rabbit, make_rabbit, use_provider, caplog
):
    class Broken(Sampler):
        def should_sample(self, *args, **options):
            raise TypeError("a sampler of ours")

        def get_description(self):
            return "broken"

    use_provider(TracerProvider(sampler=Broken()))
    rabbit.bind("all", "#")

    found = send(rabbit, make_rabbit, outgoing(1, headers=STORED), outgoing(2))

    assert {each.kind for each in found.values()} == {Kind.CONFIRMED}
    (_, first, _), _ = rabbit.take("all", 2)
    assert first.headers["traceparent"] == STORED["traceparent"]
    assert caplog.text.count("tracing failed") == 1


@pytest.mark.parametrize(
    "provider", [trace.NoOpTracerProvider(), trace.ProxyTracerProvider()]
)
def test_without_an_sdk_the_stored_context_goes_through(
    rabbit, make_rabbit, use_provider, provider
):
    use_provider(provider)
    rabbit.bind("all", "#")

    send(rabbit, make_rabbit, outgoing(1, headers=STORED), outgoing(2))

    (_, first, _), (_, second, _) = rabbit.take("all", 2)
    assert first.headers["traceparent"] == STORED["traceparent"]
    assert first.headers["tracestate"] == STORED["tracestate"]
    assert "traceparent" not in second.headers
