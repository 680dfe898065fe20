"""scripts/environment.sh, before it makes anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_folder_that_is_no_virtual_environment_is_not_replaced(tmp_path: Path):
    letter = tmp_path / "home" / "letter"
    letter.parent.mkdir()
    letter.write_text("dear")

    done = subprocess.run(
        [ROOT / "scripts" / "environment.sh", "demo"],
        env={**os.environ, "VENV": str(letter.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 1
    assert f"VENV={letter.parent} holds something" in done.stderr
    assert letter.read_text() == "dear"
