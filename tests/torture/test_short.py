"""A short torture run; `make torture` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("private_postgresql", "private_rabbitmq")
def test_a_short_torture_loses_nothing_and_keeps_the_order():
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--seconds", "15", "--seed", "7"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("GOOD")
    assert "0 lost, 0 invented, 0 out of order" in done.stdout
