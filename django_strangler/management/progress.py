"""What a long-running command says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from django.core.management.base import OutputWrapper


class Interval:
    """One line per interval in which anything was done."""

    def __init__(
        self,
        out: OutputWrapper,
        seconds: float,
        line: Callable[[float], str],  # Given how long it was; empty: nothing was done.
    ) -> None:
        self._out = out
        self._seconds = seconds
        self._line = line
        self._said = time.monotonic()

    def __call__(self) -> None:
        """Say it, if it is time to."""
        now = time.monotonic()
        if now < self._said + self._seconds:
            return
        took, self._said = now - self._said, now
        if text := self._line(took):
            self._out.write(text)
            self._out.flush()


class Progress:
    """A bar with rate and time left on a terminal; nothing anywhere else."""

    WIDTH = 30

    def __init__(self, out: OutputWrapper | TextIO, total: int) -> None:
        self._out = out
        self._total = total
        self._started = time.monotonic()
        self._drawn = 0.0
        self.is_shown = out.isatty()

    def _write(self, text: str) -> None:
        # Django's wrapper ends each write with a new line, unless told not to.
        if isinstance(self._out, OutputWrapper):
            self._out.write(text, ending="")
        else:
            self._out.write(text)
        self._out.flush()

    def show(self, done: int, *, last: bool = False) -> None:
        """Draw how far it is, ten times a second at most."""
        now = time.monotonic()
        if not self.is_shown or (now - self._drawn < 0.1 and not last):
            return
        self._drawn = now
        total = max(self._total, done)
        rate = done / max(now - self._started, 0.001)
        full = self.WIDTH * done // total if total else self.WIDTH
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        bar = "█" * full + "·" * (self.WIDTH - full)
        end = "\n" if last else ""
        text = f"\r{bar} {done:,} of {total:,}, {rate:,.0f}/s{left}\033[K{end}"
        self._write(text)
