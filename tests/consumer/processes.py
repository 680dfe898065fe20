"""consume_events as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.databases import database_url

ROOT = Path(__file__).parents[2]


@contextmanager
def consumer(
    alias: str,
    broker: object,
    *arguments: str,
    settings: str = "tests.consumer.process_settings",
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """One process, killed in the end if it still runs."""
    # A pipe that nobody reads would stop it.
    output = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "django", "consume_events"),
            *("--queue", broker.queue, "--log-interval", "0.1", *arguments),
        ],
        env={
            **os.environ,
            "DATABASE_URL": database_url(alias),
            "BROKER_URL": broker.url,
            "EXCHANGE": broker.exchange,
            "DJANGO_SETTINGS_MODULE": settings,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
            **environment,
        },
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    process.output = output
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        output.close()


def said(process) -> str:
    """What it wrote so far."""
    process.output.seek(0)
    return process.output.read().decode()
