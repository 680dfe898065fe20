"""Trace context: the only module that imports opentelemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from django_strangler.events import Header

__all__ = [
    "Producer",
    "Span",
    "capture",
    "end",
    "flag_evaluated",
    "processing",
    "producer",
    "untraced",
]

# Not the global propagator: it may carry baggage, personal data, to other services.
_propagator = TraceContextTextMapPropagator()
# The instrumentations ask for either, depending on their age.
_SUPPRESS = ("suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY)


def capture() -> dict[str, str]:
    """The current trace context as headers; empty when nothing is traced."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


@contextmanager
def untraced() -> Iterator[None]:
    """What this thread does inside makes no spans by instrumentations; ours it does."""
    quiet = context.get_current()
    for key in _SUPPRESS:
        quiet = context.set_value(key, True, quiet)
    token = context.attach(quiet)
    try:
        yield
    finally:
        context.detach(token)


def flag_evaluated(name: str, enabled: bool, reason: str) -> None:
    """Note a flag's answer on the current span, if there is one."""
    span = trace.get_current_span()
    if span.is_recording():
        span.add_event(
            "feature_flag.evaluation",
            {
                "feature_flag.key": name,
                "feature_flag.result.variant": "on" if enabled else "off",
                "feature_flag.result.reason": reason,
                "feature_flag.provider.name": "django-strangler",
            },
        )


def producer(exchange: str, host: str, port: int) -> Producer | None:
    """What makes the spans of sending; None while no SDK is set up."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return Producer(provider.get_tracer("django_strangler"), exchange, host, port)


class Producer:
    """One span per message, in the trace of whoever published the event."""

    def __init__(
        self, tracer: trace.Tracer, exchange: str, host: str, port: int
    ) -> None:
        self.tracer = tracer
        self.exchange = exchange
        self._fixed: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "server.address": host,
            "server.port": port,
        }

    def start(
        self, type: str, id: str, correlation_id: str, headers: Mapping[str, Header]
    ) -> tuple[dict[str, Header], Span]:
        """The headers with the new span in place of the stored one, and the span."""
        carrier = {
            name: value for name, value in headers.items() if isinstance(value, str)
        }
        destination = f"{self.exchange}:{type}"
        attributes: dict[str, str | int] = {
            **self._fixed,
            "messaging.destination.name": destination,
            "messaging.rabbitmq.destination.routing_key": type,
            "messaging.message.id": id,
        }
        if correlation_id:
            attributes["messaging.message.conversation_id"] = correlation_id
        span = self.tracer.start_span(
            f"publish {destination}",
            context=_propagator.extract(carrier),
            kind=SpanKind.PRODUCER,
            attributes=attributes,
        )
        injected: dict[str, str] = {}
        _propagator.inject(injected, trace.set_span_in_context(span))
        if not injected:  # The SDK is disabled: the stored context goes on as it is.
            return dict(headers), span
        kept = {
            name: value
            for name, value in headers.items()
            if name not in ("traceparent", "tracestate")
        }
        return {**kept, **injected}, span


def end(span: Span | None, error: str = "") -> None:
    """The message has its outcome."""
    if span is None:
        return
    if error:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


@contextmanager
def processing(
    headers: Mapping[str, Header], *, system: str, destination: str, id: str
) -> Iterator[None]:
    """
    A span around a subscriber's work, in the trace of the view that published.

    It starts from an empty context: what ``untraced`` suppresses around a relay's loop
    is not suppressed inside.
    """
    carrier = {name: value for name, value in headers.items() if isinstance(value, str)}
    parent = _propagator.extract(carrier, context=context.Context())
    token = context.attach(parent)
    try:
        with trace.get_tracer("django_strangler").start_as_current_span(
            f"process {destination}",
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": system,
                "messaging.destination.name": destination,
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.message.id": id,
            },
        ):
            yield
    finally:
        context.detach(token)
