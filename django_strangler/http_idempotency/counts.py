"""What became of requests: counted, told to receivers, noted as evidence."""

from __future__ import annotations

from enum import Enum

from django.dispatch import Signal

from django_strangler import counting, evidence

from .problems import Problem

# Sent after each request with a key: ``route`` and ``outcome``.
request_handled = Signal()


_requests = counting.counter(
    "http_idempotency_requests",
    "Requests with a key: new, replayed, busy, mismatch, unknown, invalid or failed.",
    labels=("route", "outcome"),
)


class Outcome(Enum):
    """What happened to one request with a key."""

    NEW = "new"
    REPLAYED = "replayed"
    BUSY = "busy"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    FAILED = "failed"  # The view raised, and nothing was kept.

    @classmethod
    def of(cls, problem: Problem) -> Outcome:
        """What a refusal counts as."""
        return _OF_PROBLEM.get(problem, cls.INVALID)


_OF_PROBLEM = {
    Problem.KEY_REUSED: Outcome.MISMATCH,
    Problem.IN_PROGRESS: Outcome.BUSY,
    Problem.OUTCOME_UNKNOWN: Outcome.UNKNOWN,
    Problem.RESPONSE_NOT_KEPT: Outcome.REPLAYED,
}


def note(route: str, outcome: Outcome, seconds: float) -> None:
    """Once for each request with a key, after its transaction."""
    _requests.add(route, outcome.value)
    if outcome not in (Outcome.INVALID, Outcome.MISMATCH):  # Those are the client's.
        evidence.note(
            f"http-idempotency:{route}",
            side="legacy",
            ok=outcome in (Outcome.NEW, Outcome.REPLAYED),
            seconds=seconds,
        )
    request_handled.send_robust(Outcome, route=route, outcome=outcome.value)
