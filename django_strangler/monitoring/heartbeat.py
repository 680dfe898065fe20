"""A file that is touched while a relay or a consumer moves, for exec probes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

OFTEN = 1.0  # Seconds between two touches.


class Heartbeat:
    """
    One file for all that must move.

    Its time is the last beat of the part that has not beaten for longest.
    """

    def __init__(self, path: Path, parts: Iterable[str]) -> None:
        self._path = path
        # Nothing has moved yet, but it had no time to.
        self._last = dict.fromkeys(parts, time.time())
        self._touch()

    def beat(self, part: str) -> None:
        """This part moves."""
        now = time.time()
        if now - self._last[part] < OFTEN:
            return
        self._last[part] = now
        oldest = min(self._last.values())
        # A file that cannot be touched is for the probe to notice; work goes on.
        with suppress(OSError):
            self._touch()  # It may have been tidied up.
            os.utime(self._path, (oldest, oldest), follow_symlinks=False)

    def _touch(self) -> None:
        # In a folder that others may write to, a link could lead anywhere.
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(self._path, flags, 0o644))
        os.utime(self._path, follow_symlinks=False)
