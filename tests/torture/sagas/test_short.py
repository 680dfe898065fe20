"""A short torture of sagas; `make torture TORTURE_ARGS=--sagas` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def torture(request, tmp_path) -> Any:
    request.getfixturevalue("private_postgresql")
    request.getfixturevalue("private_rabbitmq")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "tests.torture", "--sagas", "--seed", "3"),
                *("--logs", str(tmp_path), *options),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run


def test_a_short_torture_of_sagas_ends_well(torture):
    done = torture("--count", "30", "--kills", "4")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("GOOD")
