"""Trace context: the only module that imports opentelemetry."""

from __future__ import annotations

from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Not the global propagator: it may carry baggage, and so personal data, to other services.
_propagator = TraceContextTextMapPropagator()


def capture() -> dict[str, str]:
    """The current trace context as headers; empty when nothing is traced."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def flag_evaluated(name: str, enabled: bool, reason: str) -> None:
    """Note a flag's answer on the current span, if there is one."""
    span = get_current_span()
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
