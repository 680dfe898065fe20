"""Real ``drain_outbox`` processes, and what arrived from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.services.databases import database_url

ROOT = Path(__file__).parents[2]


class Line(NamedTuple):
    """An event that arrived."""

    pid: int
    row: int
    key: str


def environment(alias: str, folder: Path, **more: str) -> dict[str, str]:
    """For a Django process on this database that sends into this folder."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "testproject")]),
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": database_url(alias),
        "BROKER_URL": "tests.relay.file_broker.FileBroker",
        "FILE_BROKER": str(folder / "arrived"),
        **more,
    }


class Drain:
    """One process; its output is in ``output``."""

    def __init__(
        self,
        alias: str,
        folder: Path,
        arguments: Sequence[str],
        more: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.path = folder / f"output-{time.monotonic_ns()}"
        with self.path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "drain_outbox", *arguments],
                env=environment(alias, folder, **more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.path.read_text()

    def terminate(self, number: int = signal.SIGTERM, timeout: float = 60) -> float:
        """Ask it to stop; returns how long that took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout)
        return time.monotonic() - started

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It stands still when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()


def arrived(folder: Path) -> list[Line]:
    """All lines so far."""
    path = folder / "arrived"
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        pid, row, key = text.split(" ", 2)
        lines.append(Line(int(pid), int(row), key))
    return lines


def out_of_order(lines: Sequence[Line]) -> list[Line]:
    """First copies that come after a younger one of their key."""
    newest: dict[str, int] = {}
    seen: set[int] = set()
    wrong = []
    for line in lines:
        if line.row in seen:
            continue
        seen.add(line.row)
        if line.row < newest.get(line.key, 0):
            wrong.append(line)
        newest[line.key] = max(line.row, newest.get(line.key, 0))
    return wrong
