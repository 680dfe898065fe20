"""Trace context: the only module that imports opentelemetry."""

from __future__ import annotations

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Not the global propagator: it may carry baggage, and so personal data, to other services.
_propagator = TraceContextTextMapPropagator()


def capture() -> dict[str, str]:
    """The current trace context as headers; empty when nothing is traced."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers
