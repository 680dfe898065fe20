"""
When to stop calling, and when to try again: a state machine with an injected clock.

It does no input or output, and holds its lock for arithmetic only. Calls are counted
when they begin: those in flight are part of the rate, which the first failures of many
calls would otherwise inflate.
"""

from __future__ import annotations

import enum
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


class State(enum.Enum):
    CLOSED = "closed"  # Calls pass.
    OPEN = "open"  # Calls are refused.
    HALF_OPEN = "half-open"  # One call at a time passes, to see how it goes.


class CallOutcome(enum.Enum):
    SUCCESS = "success"
    FAILURE = "failure"  # It could not be reached, or not in time.
    ERROR = "error"  # It is there, and answers with errors of its own.
    NEITHER = "neither"  # Our own bug or wish: it says nothing about the service.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a circuit opens, and for how long. Durations are in seconds."""

    window: float = 10.0
    least: int = 10  # Calls in the window, below which no rate is looked at.
    failed: float = 0.5  # Share of failures.
    slow: float = 0.8  # Share of slow calls.
    slow_after: float | None = None
    in_a_row: int = 5  # Failures without a success between: for little traffic.
    first: float = 5.0  # How long it stays open, doubled each time in a row ...
    longest: float = 60.0  # ... up to this.
    jitter: float = 0.2  # So that processes do not probe all at once.
    to_close: int = 2  # Successes in a row while half-open.
    lease: float = 3.0  # After this, a probe that has not come back is forgotten.


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to call once. A result counts only for the state that permitted it."""

    generation: int
    begun: float
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not now; ``wait`` says how many seconds at least."""

    wait: float


class Circuit:
    """The state of one service as this process knows it."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.limits, self._clock, self._spread = limits, clock, spread
        self._lock = threading.Lock()
        self.state = State.CLOSED
        self.generation = 0
        self.reason = ""
        self.until = 0.0  # Open until then.
        self._times = 0  # How often it has opened without closing between.
        self._answers_with_errors = False
        self._probe_until = 0.0
        self._start_counting()

    def _start_counting(self) -> None:
        self._buckets: list[list[float]] = []  # [second, begun, failed, slow]
        self._failures_in_a_row = 0
        self._successes_in_a_row = 0

    @property
    def is_lasting(self) -> bool:
        """Whether it is more than a moment's absence, which may be over by itself."""
        return self._answers_with_errors or self._times > 1

    def ask(self) -> Permit | Refusal:
        """Leave for one call, or for how long there is none."""
        with self._lock:
            now = self._clock()
            if self.state is State.CLOSED:
                self._bucket(now)[1] += 1
                return Permit(self.generation, now)
            if self.state is State.OPEN:
                if now < self.until:
                    return Refusal(self.until - now)
                self._become(State.HALF_OPEN)
            if now < self._probe_until:
                return Refusal(self._probe_until - now)
            self._probe_until = now + self.limits.lease
            return Permit(self.generation, now, is_probe=True)

    def postpone(self, permit: Permit, seconds: float) -> None:
        """Another process probes: nobody here does for so long."""
        with self._lock:
            if permit.generation == self.generation:
                self._probe_until = self._clock() + seconds

    def tell(
        self,
        permit: Permit,
        outcome: CallOutcome,
        *,
        warned: bool = False,
        until: float | None = None,
        reason: str = "",
    ) -> bool:
        """
        How the call went; True if that opened the circuit.

        ``warned``: another process found the service sick, so one failure is enough.
        ``until``: the service itself says for how many seconds it is away.
        """
        with self._lock:
            if permit.generation != self.generation:
                return False  # It is about a time that is over.
            now = self._clock()
            if permit.is_probe:
                self._probe_until = 0.0
            if outcome is CallOutcome.NEITHER:
                return False
            self._answers_with_errors = outcome is CallOutcome.ERROR
            after = self.limits.slow_after
            if outcome is CallOutcome.SUCCESS:
                is_slow = after is not None and now - permit.begun > after
                return self._succeeded(now, is_slow=is_slow)
            if until is not None:
                return self._open(now, min(until, self.limits.longest), reason)
            return self._failed(now, warned=warned, reason=reason)

    def close(self) -> None:
        """By a person, or a test."""
        with self._lock:
            self._times = 0
            self._become(State.CLOSED)

    def _succeeded(self, now: float, *, is_slow: bool) -> bool:
        self._failures_in_a_row = 0
        if self.state is State.HALF_OPEN:
            self._successes_in_a_row += 1
            if self._successes_in_a_row >= self.limits.to_close:
                self._times = 0
                self._become(State.CLOSED)
        elif is_slow:
            self._bucket(now)[3] += 1
            begun, _failed, slow = self._sums(now)
            if begun >= self.limits.least and slow >= self.limits.slow * begun:
                return self._open(now, None, f"{slow:.0f} of {begun:.0f} calls slow")
        return False

    def _failed(self, now: float, *, warned: bool, reason: str) -> bool:
        if self.state is State.HALF_OPEN:
            return self._open(now, None, reason or "the probe failed")
        self._failures_in_a_row += 1
        self._bucket(now)[2] += 1
        begun, failed, _slow = self._sums(now)
        enough = begun >= self.limits.least and failed >= self.limits.failed * begun
        if warned or enough or self._failures_in_a_row >= self.limits.in_a_row:
            return self._open(
                now, None, f"{failed:.0f} of {begun:.0f} failed: {reason}"
            )
        return False

    def _open(self, now: float, seconds: float | None, reason: str) -> bool:
        if seconds is None:
            seconds = min(self.limits.first * 2.0**self._times, self.limits.longest)
            seconds *= 1 + self.limits.jitter * (2 * self._spread() - 1)
        self._times = min(self._times + 1, 30)
        self._become(State.OPEN)
        self.until, self.reason = now + seconds, reason
        return True

    def _become(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self._probe_until = 0.0
        if state is State.CLOSED:
            self.reason = ""
        self._start_counting()  # Old failures must not open it again.

    def _bucket(self, now: float) -> list[float]:
        second = now // 1
        if not self._buckets or self._buckets[-1][0] != second:
            self._buckets.append([second, 0, 0, 0])
            oldest = now - self.limits.window
            while self._buckets[0][0] + 1 <= oldest:
                del self._buckets[0]
        return self._buckets[-1]

    def _sums(self, now: float) -> tuple[float, float, float]:
        oldest = now - self.limits.window
        begun = failed = slow = 0.0
        for bucket in self._buckets:
            if bucket[0] + 1 > oldest:
                begun, failed, slow = (
                    begun + bucket[1],
                    failed + bucket[2],
                    slow + bucket[3],
                )
        return max(begun, failed, slow), failed, slow
