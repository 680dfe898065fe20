"""When a failed delivery comes again, and for whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .subscribers import Subscriber

IN_PLACE = (0.1, 0.5)  # Pauses before a failed delivery is tried again; its key waits.


class Failure(NamedTuple):
    """A subscriber that could not handle the event, and why."""

    subscriber: Subscriber
    error: BaseException


class Consequence(NamedTuple):
    """What comes after some subscribers have failed."""

    delay: float | None  # Until the next delivery; None: there is none.
    given_up: tuple[str, ...]  # They are not called again.


def judge(
    failures: Iterable[Failure], *, times: int, delays: Sequence[float]
) -> Consequence:
    """
    By the policy of each, ``delays`` unless it has one of its own.

    ``times`` is how often the delivery came and failed before. One that is given up
    does not end it for the others; of several, who wants to wait longest decides.
    """
    again, given_up = [], []
    for subscriber, error in failures:
        own = subscriber.retry_delays
        wanted = delays if own is None else own
        if times < len(wanted) and not is_final(subscriber, error):
            again.append(wanted[times])
        else:
            given_up.append(subscriber.name)
    return Consequence(max(again) if again else None, tuple(given_up))


def is_final(subscriber: Subscriber, error: BaseException) -> bool:
    """Whether trying again cannot help."""
    return isinstance(error, subscriber.final_errors)


def all_delays(
    subscribers: Iterable[Subscriber], delays: Sequence[float]
) -> tuple[float, ...]:
    """Every delay that one of them may ask for, the shortest first."""
    own = (each.retry_delays for each in subscribers)
    wanted = (delays if each is None else each for each in own)
    return tuple(sorted({delay for each in wanted for delay in each}))
