"""An opt-in app gets everything by the core's registries, and nothing mentions it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "django_strangler"

pytestmark = pytest.mark.slow  # It sets a project up in a process of its own.


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the example app saw, in a process of its own."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.exampleapp.proof"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "DJANGO_SETTINGS_MODULE": "tests.settings_alone",
            "STRANGLER_TESTS_ONLY": "tests.exampleapp",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_its_table_and_its_command_are_there(seen):
    assert seen["command"] == "5 things.\n"


def test_the_doctor_examines_it(seen):
    assert seen["examination"] == [
        {
            "part": "example",
            "level": "trouble",
            "what": "5 things",
            "todo": "manage.py prune_outbox",
        }
    ]


def test_the_admin_s_page_has_its_panel_for_those_who_may_see_it(seen):
    assert "There are 5 things." in seen["panel"]
    assert "There are" not in seen["hidden"]


def test_prune_outbox_prunes_it_as_well(seen):
    assert "Example things forgotten: 2.\n" in seen["prune"]
    assert seen["left"] == 3


def test_its_counter_is_exported(seen):
    assert seen["metric"]["strangler_example_pruned_total"] == 2


def test_its_check_runs(seen):
    assert "strangler_example.W001" in seen["check"]


def test_its_settings_are_checked_with_the_core_s(seen):
    (message,) = seen["wrong"]
    assert message.startswith("strangler.E001 STRANGLER['EXAMPLE']['MOST'] is 0")


def test_the_core_does_not_mention_it():
    mentions = [
        path
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".html") and "example" + "app" in path.read_text()
    ]

    assert not mentions
