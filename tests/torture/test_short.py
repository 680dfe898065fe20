"""A short torture run on each database; `make torture` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Long in itself, and longer beside other work.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
# What bites soonest; the long form has all kinds.
FAULTS = {
    "postgresql": (
        "kill a relay,kill RabbitMQ,pause a relay beyond its lease,kill a consumer,"
        "no route,cut a relay off RabbitMQ,kill the database,close all connections"
    ),
    "mariadb": "kill a relay,terminate all backends,kill a consumer,kill the database",
}


@pytest.mark.parametrize(("database", "seconds"), [("postgresql", 40), ("mariadb", 10)])
def test_a_short_torture_loses_nothing_and_keeps_the_order(
    database, seconds, request, tmp_path
):
    request.getfixturevalue(f"private_{database}")
    request.getfixturevalue("private_rabbitmq")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.torture", "--seed", "7", "--rate", "200"),
            *("--database", database, "--seconds", str(seconds), "--ignore-stalls"),
            *("--only", FAULTS[database], "--logs", str(tmp_path)),
            *("--history", str(tmp_path / "history.gz")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
        capture_output=True,
        text=True,
        timeout=800,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 invented, 0 out of order, 0 effects" in done.stdout
    assert done.stdout.rstrip().endswith("GOOD")
