"""Trace context: the only module that imports opentelemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Not the global propagator: it may carry baggage, and so personal data, to other services.
_SUPPRESS = "suppress_instrumentation"  # The key that instrumentations look for.
_propagator = TraceContextTextMapPropagator()


def capture() -> dict[str, str]:
    """The current trace context as headers; empty when nothing is traced."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


@contextmanager
def untraced() -> Iterator[None]:
    """Make no spans meanwhile: of a poll's statements each would be a trace."""
    token = otel_context.attach(
        otel_context.set_value(_SUPPRESS, True, otel_context.get_current())
    )
    try:
        yield
    finally:
        otel_context.detach(token)
