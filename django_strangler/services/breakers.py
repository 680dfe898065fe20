"""
A breaker: stop calling a service that is sick, and never wait for it with all threads.

The cap on calls in flight comes first: a service that hangs holds that many threads at
most, before any of its calls has timed out.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from django_strangler import counting

from . import modes
from .circuit import CallOutcome, Circuit, Limits, Permit, Refusal, State
from .conf import ServiceSettings, is_same, services
from .errors import CircuitOpen, TooManyInFlight
from .hints import Hints
from .modes import Mode

logger = logging.getLogger("django_strangler.services")

turns = counting.counter(
    "breaker_turns", "Breakers that opened or closed.", labels=("service", "to")
)
refusals = counting.counter(
    "breaker_refusals",
    "Calls that were refused, or would have been: open, in-flight, observed.",
    labels=("service", "why"),
)


class Slots:
    """At most so many at a time, counted."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one without waiting; False if all are taken."""
        with self._lock:
            if self.taken >= self.most:
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        with self._lock:
            self.taken -= 1


class Breaker:
    """The breaker of one service in this process."""

    def __init__(
        self,
        name: str,
        settings: ServiceSettings,
        *,
        limits: Limits | None = None,
        hints: Hints | None = None,
        clock: Callable[[], float] = monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.name, self.settings = name, settings
        # A shorter window would forget calls before they time out.
        window = max(10.0, 2 * settings.timeout)
        self.circuit = Circuit(
            limits
            or Limits(
                window=window,
                lease=settings.timeout + 1,
                slow_after=settings.slow_after,
            ),
            clock,
            spread,
        )
        self.hints = hints or Hints(name, clock)
        self.slots = Slots(settings.max_in_flight)
        self._spread = spread

    @property
    def mode(self) -> Mode:
        return modes.current(self.name, self.settings.breaker)

    def enter(self) -> Call:
        """Begin a call, or raise CircuitOpen. The Call must be ended."""
        mode = self.mode
        if mode is Mode.FORCED_OPEN:
            refusals.add(self.name, "open")
            raise CircuitOpen(
                f"Calls to {self.name!r} are switched off by a flag.", retry_after=1.0
            )
        if not self.slots.take():
            refusals.add(self.name, "in-flight")
            raise TooManyInFlight(
                f"{self.slots.most} calls to {self.name!r} are under way already, "
                "which is MAX_IN_FLIGHT.",
                retry_after=1.0,
            )
        try:
            permit = None if mode is Mode.OFF else self._permit(mode)
        except BaseException:
            self.slots.give_back()
            raise
        return Call(self, permit)

    def _permit(self, mode: Mode) -> Permit | None:
        asked = self.circuit.ask()
        wait = 0.0
        if isinstance(asked, Refusal):
            wait = asked.wait
        elif not asked.is_probe or self.hints.claim_probe(self.circuit.limits.lease):
            return asked
        else:
            wait = 0.8 + 0.4 * self._spread()
            self.circuit.postpone(asked, wait)
        if mode is Mode.OBSERVED:
            refusals.add(self.name, "observed")
            return None
        refusals.add(self.name, "open")
        raise CircuitOpen(
            f"{self.name!r} is not called for another {wait:.1f} s "
            f"({self.circuit.reason or 'another process is probing it'}).",
            retry_after=wait,
            is_lasting=self.circuit.is_lasting,
        )

    def told(
        self, permit: Permit, outcome: CallOutcome, until: float | None, reason: str
    ) -> None:
        """What came of a call that the circuit permitted."""
        circuit, before = self.circuit, self.circuit.state
        if permit.is_probe:
            self.hints.leave_probe()
        warned = (
            outcome in (CallOutcome.FAILURE, CallOutcome.ERROR)
            and before is State.CLOSED
            and self.hints.is_warned()
        )
        if circuit.tell(permit, outcome, warned=warned, until=until, reason=reason):
            seconds = max(0.0, circuit.until - permit.begun)
            self.hints.warn(seconds)
            turns.add(self.name, State.OPEN.value)
            logger.warning(
                "The breaker of %r has opened: %s.", self.name, circuit.reason
            )
        elif before is State.HALF_OPEN and circuit.state is State.CLOSED:
            self.hints.all_clear()
            turns.add(self.name, State.CLOSED.value)
            logger.info("The breaker of %r has closed: it answers again.", self.name)


@dataclass(slots=True)
class Call:
    """One call that was let through; ended exactly once, whatever comes of it."""

    breaker: Breaker
    permit: Permit | None
    _ended: bool = False
    _told: bool = False

    def tell(
        self, outcome: CallOutcome, *, until: float | None = None, reason: str = ""
    ) -> None:
        """What the service showed of itself. Only the first word counts."""
        if self.permit is not None and not self._told:
            self._told = True
            self.breaker.told(self.permit, outcome, until, reason)

    def end(self) -> None:
        """The thread is free again. A probe of which nothing is known is given back."""
        if not self._ended:
            self._ended = True
            self.tell(CallOutcome.NEITHER)
            self.breaker.slots.give_back()


class Registry:
    """The breakers of this process by name, made when they are first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Breaker] = {}

    def get(self, name: str) -> Breaker:
        settings = services().named.get(name) or services().everywhere
        found = self._made.get(name)
        if found is not None and is_same(found.settings, settings):
            return found
        with self._lock:
            found = self._made.get(name)
            if found is None or not is_same(found.settings, settings):
                found = self._made[name] = Breaker(name, settings)
            return found

    def all(self) -> Mapping[str, Breaker]:
        return dict(self._made)

    def forget(self) -> None:
        """As if just started: after a fork, or in a test."""
        self._lock = threading.Lock()
        self._made = {}


registry = Registry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=registry.forget)


@contextmanager
def breaker(name: str) -> Iterator[None]:
    """
    Guard a call by any other client: ``with breaker("bank"): …``.

    An exception that leaves the block is a failure of the service; CircuitOpen is
    raised in place of the block while it is refused. The limits are those of
    ``STRANGLER["SERVICES"][name]``, or the defaults if there is none.
    """
    call = registry.get(name).enter()
    try:
        yield
    except CircuitOpen:
        raise
    except Exception as error:
        call.tell(CallOutcome.FAILURE, reason=type(error).__name__)
        raise
    else:
        call.tell(CallOutcome.SUCCESS)
    finally:
        call.end()


def _by_name(
    read: Callable[[Breaker], float],
) -> Callable[[], Mapping[tuple[str, ...], float]]:
    return lambda: {(name,): read(each) for name, each in registry.all().items()}


counting.gauge(
    "breaker_open",
    "1: this process does not call the service.",
    labels=("service",),
    read=_by_name(lambda each: float(each.circuit.state is not State.CLOSED)),
)
counting.gauge(
    "service_calls_in_flight",
    "Calls that this process waits for.",
    labels=("service",),
    read=_by_name(lambda each: each.slots.taken),
)
