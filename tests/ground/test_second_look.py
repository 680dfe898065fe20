"""What fails twice fails; what fails once is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.leftovers import ROOT

pytestmark = pytest.mark.slow  # Each runs pytest, twice.

FAILS_ONCE = """
from pathlib import Path

def test_good(): pass

def test_shaky():
    seen = Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first look")
"""
SKIPS_THEN = FAILS_ONCE.replace("def test_good(): pass", "import pytest").replace(
    "    if not seen.exists():", "    if seen.exists(): pytest.skip()\n    else:"
)
FAILS = "def test_bad(): raise AssertionError\n"
MANY = "".join(f"def test_{number}(): raise AssertionError\n" for number in range(7))


def look(folder: Path, tests: str) -> tuple[int, str, str]:
    """The exit code, the output, and the names that are noted."""
    (folder / "test_them.py").write_text(tests)
    noted = folder / "noted"
    pytest_here = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir=."]
    done = subprocess.run(
        [
            ROOT / "scripts" / "second_look.sh",
            *(*pytest_here, "-p", "no:django", "-p", "no:django_strangler"),
            *("--numprocesses=2", "--dist=loadfile", "test_them.py"),
        ],
        cwd=folder,
        env={**os.environ, "SECOND_LOOKS": str(noted)},
        capture_output=True,
        text=True,
    )
    names = noted.read_text() if noted.exists() else ""
    return done.returncode, done.stdout + done.stderr, names


def test_what_fails_only_the_first_look_is_named(tmp_path: Path) -> None:
    code, output, names = look(tmp_path, FAILS_ONCE)

    assert code == 0, output
    assert "FLAKY, passed only at the second look: test_them.py::test_shaky" in output
    assert names == "test_them.py::test_shaky\n"


def test_what_fails_both_looks_fails(tmp_path: Path) -> None:
    code, output, names = look(tmp_path, FAILS)

    assert code == 1, output
    assert "A second look" in output
    assert names == ""


def test_what_is_skipped_at_the_second_look_has_not_passed(tmp_path: Path) -> None:
    code, output, names = look(tmp_path, SKIPS_THEN)

    assert code == 1, output
    assert "that is no pass" in output
    assert names == ""


def test_when_many_fail_nothing_is_looked_at_again(tmp_path: Path) -> None:
    code, output, names = look(tmp_path, MANY)

    assert code == 1, output
    assert "7 tests failed: too many for a second look" in output
    assert names == ""


def test_what_cannot_be_imported_stays_an_error(tmp_path: Path) -> None:
    code, output, names = look(tmp_path, "import nothing_of_this_name\n")

    assert code != 0, output
    assert names == ""
