"""What happens to a test whose service cannot be had."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .leftovers import ROOT
from .postgresql import POSTGRESQL

pytestmark = pytest.mark.slow  # Each runs pytest.

TESTS = """
def test_with_a_database(postgresql): pass
def test_with_the_same(postgresql): pass
def test_with_an_alias(postgresql_db): pass
def test_without(): pass
"""


def run_tests(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, in which PostgreSQL cannot be had."""
    (folder / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir=."]
    return subprocess.run(
        [
            *(*command, "-p", "tests.services.plugin", "-p", "tests.services.fixtures"),
            *(*arguments, str(folder)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            # A plugin of the command line is imported before the paths of pyproject.
            "PYTHONPATH": os.pathsep.join(sys.path),
            POSTGRESQL.variable: "postgresql://127.0.0.1:1/postgres",
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_missing_service_skips_only_its_tests_and_says_so(
    processes: str, tmp_path
) -> None:
    done = run_tests(tmp_path, "--numprocesses", processes)

    assert done.returncode == 0, done.stdout
    assert re.search(r"1 passed, 3 skipped", done.stdout)
    assert "services that cannot be had" in done.stdout
    assert f"3 tests skipped: PostgreSQL cannot be had: {POSTGRESQL.variable}" in (
        done.stdout
    )


def test_a_missing_service_fails_its_tests_where_services_are_required(
    tmp_path,
) -> None:
    done = run_tests(tmp_path, "--require-services")

    assert done.returncode == 1, done.stdout
    assert re.search(r"1 passed,.* 3 errors", done.stdout)
    assert "3 tests failed: PostgreSQL cannot be had" in done.stdout
