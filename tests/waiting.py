"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(AssertionError):
    """The condition did not come true before the deadline."""


def wait_for(
    condition: Callable[[], T],
    timeout: float = 60.0,
    *,
    message: str = "",
    interval: float = 0.02,
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """
    Call the condition until it answers something true, and return that answer.

    An error named in `ignoring` counts as "not yet"; after the deadline it is the cause
    of the TimedOut. The condition is called at least once.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer, error = None, None
        try:
            answer = condition()
        except ignoring as raised:
            error = raised
        if answer:
            return answer
        if time.monotonic() >= deadline:
            what = message or getattr(condition, "__name__", repr(condition))
            last = error if error is not None else answer
            raise TimedOut(
                f"{what}: not within {timeout:g} s, last {last!r}"
            ) from error
        time.sleep(interval)
