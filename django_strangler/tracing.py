"""Trace context: the only module that imports opentelemetry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import lru_cache
from uuid import UUID

from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace import Span as Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from django_strangler import conf
from django_strangler.events import Header

# Not the global propagator: it may carry baggage, personal data, to other services.
_propagator = TraceContextTextMapPropagator()
# The instrumentations ask for either, depending on their age.
_SUPPRESS = ("suppress_instrumentation", context._SUPPRESS_INSTRUMENTATION_KEY)

_PLAIN = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SPAN = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, context.Context())))
LINK_AFTER = 3600.0  # Seconds. No trace is expected to go on after a longer pause.


def capture() -> dict[str, str]:
    """The current trace context as headers; empty when nothing is traced."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def trace_id(headers: Mapping[str, Header]) -> str:
    """The id of the trace in an event's headers; empty when it was not traced."""
    origin = trace.get_current_span(_stored(headers)).get_span_context()
    return f"{origin.trace_id:032x}" if origin.is_valid else ""


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
    if _is_off(provider):
        return None
    return Producer(_tracer(provider), exchange, (host, port))


class Producer:
    """One span per message, in the trace in which the event was published."""

    def __init__(
        self, tracer: trace.Tracer, exchange: str, server: tuple[str, int]
    ) -> None:
        self._start_span, self._exchange = tracer.start_span, exchange
        self._fixed: dict[str, str | int] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            **_of_server(server),
        }

    def start(
        self,
        type: str,
        id: str,
        correlation_id: str,
        headers: Mapping[str, Header],
        published_at: datetime | None = None,
    ) -> tuple[dict[str, Header], Span]:
        """The headers with the new span in place of the stored one, and the span."""
        parent, links = _related(headers, published_at)
        destination = f"{self._exchange}:{type}"
        attributes = self._fixed.copy()
        attributes["messaging.destination.name"] = destination
        attributes["messaging.rabbitmq.destination.routing_key"] = type
        attributes["messaging.message.id"] = id
        if correlation_id:
            attributes["messaging.message.conversation_id"] = correlation_id
        span = self._start_span(
            f"publish {destination}", parent, SpanKind.PRODUCER, attributes, links
        )
        made = span.get_span_context()
        sent = dict(headers)
        if not made.is_valid:  # The SDK is disabled: the stored context goes on.
            return sent, span
        # What the propagator would inject, without its detours.
        sent["traceparent"] = (
            f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}"
        )
        if made.trace_state:
            sent["tracestate"] = made.trace_state.to_header()
        else:
            sent.pop("tracestate", None)
        return sent, span


@contextmanager
def sending(system: str, exchange: str, count: int) -> Iterator[None]:
    """A span around a batch, in a trace of its own: its messages are in theirs."""
    with _tracer(trace.get_tracer_provider()).start_as_current_span(
        f"send {exchange}",
        context=context.Context(),
        attributes={
            "messaging.system": system,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": exchange,
            "messaging.batch.message_count": count,
        },
    ):
        yield


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
    headers: Mapping[str, Header],
    *,
    system: str,
    destination: str,
    id: UUID | str,
    routing_key: str = "",
    server: tuple[str, int] | None = None,
    correlation_id: str = "",
    since: datetime | None = None,
    is_foreign: bool = False,
) -> Iterator[Span]:
    """
    A span around a subscriber's work, in the trace of the view that published.

    It starts from an empty context: what ``untraced`` suppresses around a relay's loop
    is not suppressed inside. An error that is not raised through it is recorded by
    ``failed``. ``since`` is when an earlier delivery failed. A foreign trace, which a
    publisher that is not known has made up perhaps, is linked to.
    """
    provider = trace.get_tracer_provider()
    parent, links = _related(headers, since, is_foreign=is_foreign)
    if _is_off(provider):  # What is published inside goes on with the trace.
        token = context.attach(parent)
        try:
            yield trace.INVALID_SPAN
        finally:
            context.detach(token)
        return
    attributes: dict[str, str | int] = {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": str(id),
        **_of_server(server),
    }
    if routing_key:
        attributes["messaging.rabbitmq.destination.routing_key"] = routing_key
    if correlation_id:
        attributes["messaging.message.conversation_id"] = correlation_id
    span = _tracer(provider).start_span(
        f"process {destination}", parent, SpanKind.CONSUMER, attributes, links
    )
    token = context.attach(trace.set_span_in_context(span, context.Context()))
    try:
        yield span
    except BaseException as error:
        failed(span, error)
        raise
    finally:
        context.detach(token)
        span.end()


def failed(span: Span, error: BaseException) -> None:
    """The subscriber raised."""
    if conf.current().may_quote_errors:
        span.record_exception(error)
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


@contextmanager
def calling(
    service: str, method: str, host: str, port: int
) -> Iterator[tuple[Span, dict[str, str]]]:
    """A span around a call by HTTP, and the headers that pass it on."""
    provider = trace.get_tracer_provider()
    if _is_off(provider):
        yield trace.INVALID_SPAN, capture()
        return
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "peer.service": service,
        **_of_server((host, port)),
    }
    span = _tracer(provider).start_span(
        method, kind=SpanKind.CLIENT, attributes=attributes
    )
    current = trace.set_span_in_context(span)
    for key in _SUPPRESS:  # An instrumentation of the HTTP library would add another.
        current = context.set_value(key, True, current)
    token = context.attach(current)
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    try:
        yield span, headers
    except BaseException as error:
        end(span, type(error).__name__)
        raise
    else:
        span.end()
    finally:
        context.detach(token)


def answered(span: Span, status: int) -> None:
    """The service answered with this status."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))


def _is_off(provider: trace.TracerProvider) -> bool:
    """Whether no SDK is set up."""
    return isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


@lru_cache(maxsize=1)
def _tracer(provider: trace.TracerProvider) -> trace.Tracer:
    # Each time it is asked for, the SDK makes the process's filters of warnings anew.
    return provider.get_tracer("django_strangler")


def _of_server(server: tuple[str, int] | None) -> dict[str, str | int]:
    return {"server.address": server[0], "server.port": server[1]} if server else {}


def _related(
    headers: Mapping[str, Header],
    since: datetime | None,
    *,
    is_foreign: bool = False,
) -> tuple[context.Context, list[Link]]:
    """
    The context to start in, and what to link to.

    A span that comes long after its trace, because an event was replayed or a relay
    stood still, begins a trace of its own that links to the first.
    """
    stored = _stored(headers)
    if not is_foreign and (since is None or _age(since) < LINK_AFTER):
        return stored, []
    origin = trace.get_current_span(stored).get_span_context()
    return context.Context(), [Link(origin)] if origin.is_valid else []


def _stored(headers: Mapping[str, Header]) -> context.Context:
    """
    The context in the headers, and nothing of the current one.

    So neither its span is a parent, nor does what it suppresses stay suppressed.
    """
    parent = headers.get("traceparent")
    found = _PLAIN.fullmatch(parent) if isinstance(parent, str) else None
    if found is None or "tracestate" in headers:
        texts = {name: value for name, value in headers.items() if type(value) is str}
        return _propagator.extract(texts, context=context.Context())
    # What the propagator does with the usual header, in a third of the time.
    trace_id, span_id, flags = found.groups()
    origin = trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), True, trace.TraceFlags(int(flags, 16))
    )
    if not origin.is_valid:
        return context.Context()
    return context.Context({_SPAN: trace.NonRecordingSpan(origin)})


def _age(moment: datetime) -> float:
    return (datetime.now(timezone.utc) - moment).total_seconds()
