"""The monolith, its relay and the Node.js service, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.services.leftovers import ROOT


@contextmanager
def process(
    command: Sequence[str], output: Path, *, folder: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the block ends; what it wrote is in the file."""
    with output.open("wb") as file:
        running = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(60)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
