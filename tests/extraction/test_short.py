"""A minute of the extraction; ``make extraction`` is the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.leftovers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_payments_leave_and_nobody_notices(
    notifications_service, payments_service, postgresql, rabbitmq, tmp_path: Path
):
    page = tmp_path / "report.html"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.extraction", "--seconds", "60"),
            # Other tests have the processors as well, when a database restarts.
            *("--downtime", "20", "--settle", "8"),
            *("--rate", "15", "--report", str(page), "--logs", str(tmp_path / "logs")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert "Nobody was harmed" in page.read_text()
