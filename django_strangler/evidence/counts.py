"""
Counting in the process: no SQL, no waiting, a ceiling on memory.

Counts are kept by slice of time: a minute, or less if something cut it. A slice is
known to the database by its process and its number, and written again and again while
it grows; so writing it twice does no harm.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import uuid4

from django_strangler.exceptions import InvalidEvidence, shown

from .histogram import BOUNDS

Side: TypeAlias = Literal["legacy", "modern"]
SIDES: tuple[Side, ...] = get_args(Side)

MAX_SOURCE: Final = 200  # Characters.
BURST: Final = 20  # So many of the last failures are known by their time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the memory of one process."""

    slice: float = 60.0  # Seconds.
    slices: int = 10  # That wait for a database which is away.
    sources: int = 500  # Pairs of source and side in one slice.


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """One source and side in one slice, as it stood at a moment."""

    slice: int
    age: float  # Seconds since the slice began.
    source: str
    side: Side
    checked: int
    failed: int
    buckets: dict[int, int]
    success: float | None  # Seconds since the last one.
    failures: tuple[float, ...]  # Seconds since each one after the last success.
    new_checked: int  # Since it was written.
    new_failed: int


class _Count:
    """What grows; every access is under the lock."""

    __slots__ = ("buckets", "checked", "failed", "failures", "success", "written")

    def __init__(self, failures: Iterable[float] = ()) -> None:
        self.checked = self.failed = 0
        self.buckets: dict[int, int] = {}
        self.success: float | None = None
        # A run of failures goes on from one slice to the next.
        self.failures = deque(failures, BURST)
        self.written = (0, 0)


class _Slice:
    __slots__ = ("began", "counts", "number")

    def __init__(self, number: int, began: float) -> None:
        self.number = number
        self.began = began
        self.counts: dict[tuple[str, str], _Count] = {}


class Counts:
    """What this process has noted and may still have to write."""

    def __init__(
        self,
        *,
        wake: Callable[[], bool],  # Whether it worked.
        limits: Limits = Limits(),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.wake = wake
        self._limits = limits
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Begin with nothing, as another process: after a fork, and in tests."""
        # Reentrant: a destructor or a signal's handler may note in the midst of noting.
        self._lock = threading.RLock()
        self.process = uuid4().hex
        self._slices: deque[_Slice] = deque([_Slice(0, self._clock())])
        self._open = self._slices[-1]
        self._asleep = True
        self.dropped = 0  # Notes that found no room, or waited too long.

    def note(
        self,
        source: str,
        *,
        side: Side = "modern",
        ok: bool = True,
        seconds: float | None = None,
        times: int = 1,
    ) -> None:
        """
        Count one more, or several alike: looked at, was it good, how long did it take.

        Runs no SQL and takes a microsecond; anybody may, from any thread.
        """
        now = self._clock()
        with self._lock:
            if now - self._open.began >= self._limits.slice:
                self._begin(now)
            count = self._open.counts.get((source, side)) or self._first(source, side)
            if count is None:
                return
            count.checked += times
            if ok:
                count.success = now
                if count.failures:
                    count.failures.clear()
            else:
                count.failed += times
                count.failures.append(now)
            # Written so that NaN fails, and what a clock that jumped measured.
            if seconds is not None and seconds >= 0:
                bucket = bisect_left(BOUNDS, seconds)
                count.buckets[bucket] = count.buckets.get(bucket, 0) + 1
            if self._asleep:
                self._asleep = not self.wake()

    def cut(self) -> None:
        """Begin a new slice: what was noted before is another matter."""
        with self._lock:
            if self._open.counts:
                self._begin(self._clock())

    def totals(self) -> list[Total]:
        """All that is not written and done with."""
        with self._lock:
            return self._totals(only_new=False)

    def take(self) -> list[Total]:
        """What has grown since it was written; the next note wakes again."""
        with self._lock:
            self._asleep = True
            return self._totals(only_new=True)

    def rest(self) -> None:
        """Keep what there is; the next note wakes again."""
        self._asleep = True

    def written(self, totals: Iterable[Total]) -> None:
        """These have reached the database."""
        with self._lock:
            slices = {each.number: each for each in self._slices}
            for total in totals:
                found = slices.get(total.slice)
                count = found and found.counts.get((total.source, total.side))
                if count:
                    count.written = (total.checked, total.failed)
            for each in list(self._slices):
                if each is not self._open and not any(
                    count.checked - count.written[0] for count in each.counts.values()
                ):
                    self._slices.remove(each)

    def _totals(self, *, only_new: bool) -> list[Total]:
        now = self._clock()
        return [
            Total(
                slice=each.number,
                age=now - each.began,
                source=source,
                side=side,  # type: ignore[arg-type]
                checked=count.checked,
                failed=count.failed,
                buckets=dict(count.buckets),
                success=None if count.success is None else now - count.success,
                failures=tuple(now - failure for failure in count.failures),
                new_checked=count.checked - count.written[0],
                new_failed=count.failed - count.written[1],
            )
            for each in self._slices
            for (source, side), count in each.counts.items()
            if not only_new or count.checked > count.written[0]
        ]

    def _begin(self, now: float) -> None:
        before = self._open
        self._open = _Slice(before.number + 1, now)
        for pair, count in before.counts.items():
            if count.failures:
                self._open.counts[pair] = _Count(count.failures)
        self._slices.append(self._open)
        while len(self._slices) > self._limits.slices:
            lost = self._slices.popleft()
            for count in lost.counts.values():
                self.dropped += count.checked - count.written[0]

    def _first(self, source: Any, side: Any) -> _Count | None:
        check_source(source)
        check_side(side)
        if len(self._open.counts) >= self._limits.sources:
            self.dropped += 1
            return None
        if not self._open.counts:
            self._open.began = self._clock()  # Nobody cares how long it stood empty.
        count = self._open.counts[source, side] = _Count()
        return count


def check_source(source: object) -> str:
    """``kind:name``, as it stands in the table and on the board."""
    if (
        not isinstance(source, str)
        or not source.isprintable()
        or not 1 <= len(source) <= MAX_SOURCE
    ):
        raise InvalidEvidence(
            f"{shown(source)} is not the name of a source. Use a kind and a name, "
            f'{MAX_SOURCE} characters at most: "route:payments-api".'
        )
    return source


def check_side(side: object) -> Side:
    """Legacy or modern."""
    if side not in SIDES:
        raise InvalidEvidence(
            f'{shown(side)} is not a side. There are two: "legacy" and "modern".'
        )
    return side


def _nobody() -> bool:
    return False


# Of this process. Noting says who is to be woken; writing takes them from here.
counts = Counts(wake=_nobody)
