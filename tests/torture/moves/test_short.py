"""A short torture of a move; `make torture TORTURE_ARGS=--moves` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
# What bites soonest; the long form has all kinds, and the other pairs.
FAULTS = (
    "kill a mover,a mover dies at a point,cut the movers' connections,"
    "terminate all connections,a switch dies at a point,"
    "kill a switch while both sides are closed"
)


def test_a_short_torture_of_a_move_loses_nothing(request, tmp_path):
    request.getfixturevalue("private_postgresql")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.torture", "--moves", "--seed", "3"),
            *("--kills", "5", "--rows", "2000", "--writers", "4"),
            *("--only", FAULTS, "--logs", str(tmp_path)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("GOOD")
