"""``make demo`` does the main job and says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "testproject" / "demo.py"


def test_the_demo_sends_one_receipt_for_each_payment():
    done = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 payments made, 20 events published, 20 confirmed" in done.stdout
    assert "once each" in done.stdout
    assert done.stdout.rstrip().endswith("All is well.")
