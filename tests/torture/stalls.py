"""Whether anything stood still for too long."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

from .crew import LEASE
from .history import Fault, Wait

SLACK = 5.0  # Seconds that a stall may last beyond the lease, or the longest backoff.
BACKOFF = 5.0  # The longest pause after a broker or a database was away.
NOTICED = 1.0  # Shorter pauses are none.


def stalls(waits: Iterable[Wait], faults: list[Fault]) -> tuple[list[str], str]:
    """
    Stalls that lasted too long, and the longest with what happened meanwhile.

    What passes while the broker, the database or the network is away, and until the
    longest backoff after that is over, is not the relays' doing. The rest of a stall
    may last as long as a lease, and some seconds.
    """
    outages = merged(
        (fault.began, fault.ended + BACKOFF) for fault in faults if fault.outage
    )
    too_long, longest, text = [], 0.0, ""
    for wait in standing_still(waits):
        length = wait.ended - wait.began
        excused = sum(
            max(0.0, min(wait.ended, end) - max(wait.began, begin))
            for begin, end in outages
        )
        if length - excused > LEASE + SLACK or _late_after_outage(wait, faults):
            too_long.append(_told(wait, faults, excused))
        if length > longest:
            longest, text = length, _told(wait, faults, excused)
    return too_long, text


def standing_still(waits: Iterable[Wait]) -> Iterator[Wait]:
    """
    The pauses within each wait in which nothing that is older got away either.

    What waits behind a backlog that is being worked off does not stand still.
    """
    ends: list[float] = []  # Of the older ones, in order.
    for wait in sorted(waits, key=lambda wait: wait.row):
        first, last = bisect_right(ends, wait.began), bisect_left(ends, wait.ended)
        for began, ended in pairwise([wait.began, *ends[first:last], wait.ended]):
            if ended - began > NOTICED:
                yield wait._replace(began=began, ended=ended)
        if ends[last : last + 1] != [wait.ended]:
            ends.insert(last, wait.ended)


def _late_after_outage(wait: Wait, faults: list[Fault]) -> bool:
    """Nothing but an outage kept it, and it kept on long after that was over."""
    outages = [fault for fault in faults if fault.outage]
    over = [f.ended for f in outages if wait.began < f.ended <= wait.ended]
    if not over:
        return False
    back = max(over)
    until = min([wait.ended, *(f.began for f in outages if f.ended > wait.ended)])
    others = any(f.hit and f.began < wait.ended and f.ended > back for f in faults)
    return not others and until - back > BACKOFF + SLACK


def merged(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same moments, without overlaps."""
    result: list[tuple[float, float]] = []
    for begin, end in sorted(intervals):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((begin, end))
    return result


def _told(wait: Wait, faults: list[Fault], excused: float) -> str:
    causes = [
        f"{fault.name} ({fault.began:.1f} to {fault.ended:.1f})"
        for fault in faults
        if fault.began < wait.ended and fault.ended > wait.began - LEASE - SLACK
    ]
    return (
        f"{wait.ended - wait.began:.1f} s from {wait.began:.1f} s on, {excused:.1f} of "
        f"them while something was away ({wait.type}, row {wait.row}): "
        f"{', '.join(causes) or 'no fault'}"
    )
