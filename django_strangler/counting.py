"""
Counting: what a process knows of itself, in one registry that the exporter walks.

Who counts need not know who reads. A metric is declared once, where its module is
loaded, and shown as ``strangler_<name>``. Memory is bounded: labels that come after the
first ``MOST`` sets of a metric are counted together, as ``others``.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, cast

MOST = 1000
Labels = tuple[str, ...]


class Metric:
    """What all of them have: a name, a sentence for people, and labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self.labels = tuple(labels)
        # Also entered again by a signal's handler or a finalizer of the same thread.
        self._lock = threading.RLock()

    def _bounded(self, key: Labels, known: Mapping[Labels, object]) -> Labels:
        if key in known or len(known) < MOST:
            return key
        return ("others",) * len(self.labels)

    def after_fork(self) -> None:
        """Another thread may have held the lock when this process was forked."""
        self._lock = threading.RLock()


class _Mine(threading.local):
    """What one thread has counted: no other writes it, so nothing is locked."""

    def __init__(self, join: Callable[[dict[Labels, float]], None]) -> None:
        self.values: dict[Labels, float] = {}
        join(self.values)


class Counter(Metric):
    """It only grows."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._known: dict[Labels, None] = {}
        self._ended: dict[Labels, float] = {}
        self._parts: list[tuple[threading.Thread, dict[Labels, float]]] = []
        self.reset()

    def add(self, *labels: str, n: float = 1) -> None:
        """Count one more, or ``n``, under these values of the labels."""
        try:
            self._mine.values[labels] += n
        except KeyError:
            self._begin(labels, n)

    def _begin(self, labels: Labels, n: float) -> None:
        mine = self._mine.values
        with self._lock:
            labels = self._bounded(labels, self._known)
            self._known.setdefault(labels)
            mine[labels] = mine.get(labels, 0) + n

    def _join(self, values: dict[Labels, float]) -> None:
        """Let a thread take part; what those have counted that ended, is summed up."""
        with self._lock:
            living = []
            for thread, counted in self._parts:
                if thread.is_alive():
                    living.append((thread, counted))
                else:
                    _add_up(self._ended, counted)
            self._parts = [*living, (threading.current_thread(), values)]

    def values(self) -> dict[Labels, float]:
        """The counts by labels."""
        with self._lock:
            total = self._ended.copy()
            for _, counted in self._parts:
                _add_up(total, counted.copy())
            return total

    def reset(self) -> None:
        """Back to nothing; for tests."""
        with self._lock:
            self._known, self._parts = {}, []
            self._ended = {} if self.labels else {(): 0}
            self._mine = _Mine(self._join)


def _add_up(total: dict[Labels, float], more: Mapping[Labels, float]) -> None:
    for labels, n in more.items():
        total[labels] = total.get(labels, 0) + n


class Gauge(Metric):
    """It is read when it is asked for."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        read: Callable[[], float | Mapping[Labels, float]],
    ) -> None:
        super().__init__(name, text, labels)
        self._read = read

    def values(self) -> dict[Labels, float]:
        """What it says now, by labels."""
        found = self._read()
        return dict(found) if isinstance(found, Mapping) else {(): found}


class Distribution:
    """How often a value was at most so large."""

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)  # By bucket; the last is for the rest.
        self.sum = 0.0


class Histogram(Metric):
    """How values are spread, in seconds as a rule."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
    ) -> None:
        super().__init__(name, text, labels)
        self.buckets = tuple(buckets)
        self._values: dict[Labels, Distribution] = {}
        self.reset()

    def observe(self, *labels_and_value: object) -> None:
        """Count a value, which comes after the values of the labels."""
        *labels, value = labels_and_value
        self.observe_many(cast(Labels, tuple(labels)), (cast(float, value),))

    def observe_many(self, labels: Labels, values: Sequence[float]) -> None:
        """Count several values at the price of one lock."""
        with self._lock:
            known = self._values
            found = known.get(labels)
            if found is None:
                labels = self._bounded(labels, known)
                found = known.setdefault(labels, Distribution(len(self.buckets)))
            for value in values:
                found.counts[bisect_left(self.buckets, value)] += 1
                found.sum += value

    def values(self) -> dict[Labels, tuple[tuple[int, ...], float]]:
        """By labels: the counts of the buckets and of the rest, and the sum."""
        with self._lock:
            return {
                key: (tuple(found.counts), found.sum)
                for key, found in self._values.items()
            }

    def reset(self) -> None:
        """Back to nothing; for tests."""
        with self._lock:
            self._values = {}
            if not self.labels:
                self._values[()] = Distribution(len(self.buckets))


M = TypeVar("M", bound=Metric)


def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """Declare a counter."""
    return _registered_as(Counter(name, text, labels))


def gauge(
    name: str,
    text: str,
    labels: Sequence[str] = (),
    *,
    read: Callable[[], float | Mapping[Labels, float]],
) -> Gauge:
    """Declare a gauge; ``read`` returns a number, or numbers by values of labels."""
    return _registered_as(Gauge(name, text, labels, read=read))


def histogram(
    name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
) -> Histogram:
    """Declare a histogram with these upper limits of its buckets."""
    return _registered_as(Histogram(name, text, labels, buckets=buckets))


def registered() -> Mapping[str, Metric]:
    """All metrics by name, in the order in which they were declared."""
    return MappingProxyType(_metrics)


def forget(name: str) -> None:
    """Take a metric out again; for tests."""
    _metrics.pop(name, None)


def _registered_as(metric: M) -> M:
    if metric.name in _metrics:
        raise ValueError(f"There is a metric {metric.name!r} already.")
    _metrics[metric.name] = metric
    return metric


def _after_fork() -> None:
    for metric in _metrics.values():
        metric.after_fork()


_metrics: dict[str, Metric] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
