"""``make demo`` as somebody at a terminal has it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "demo"]


def environment(**more: str) -> dict[str, str]:
    path = f"{ROOT}:{ROOT / 'testproject'}"
    return {**os.environ, "PYTHONPATH": path, **more}


@dataclass
class Demo:
    process: subprocess.Popen[bytes]
    said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def address(self) -> str:
        found = re.search(r"Look at \S*?(http://127\.0\.0\.1:\d+)", self.text)
        return found[1] if found else ""

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)


@contextlib.contextmanager
def on_a_terminal(**more: str) -> Iterator[Demo]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.STDOUT,
    )
    os.close(theirs)
    demo = Demo(process)

    def listen() -> None:
        with contextlib.suppress(OSError):  # The terminal is closed in the end.
            while data := os.read(ours, 4096):
                demo.said.append(data.decode(errors="replace"))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        wait_for(
            lambda: demo.address or process.poll() is not None,
            150,
            message=f"the demo runs: {demo.text}",
        )
        yield demo
    finally:
        process.terminate()
        process.wait(90)
        listener.join(30)
        os.close(ours)
        print(demo.text)
