"""The core alone, each opt-in app alone with it, and all of them together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # Each sets a project up in a process of its own.
APPS = sorted(
    f"django_strangler.{path.parent.name}"
    for path in (ROOT / "django_strangler").glob("*/apps.py")
)

PROGRAM = """
import importlib.util, sys
import django
from django.apps import apps
from django.core.management import call_command

django.setup()
call_command("check", fail_level="WARNING")
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
call_command("migrate", verbosity=0)
call_command("check", database=["default"])
call_command("strangler_status")
core = set(apps.get_app_config("strangler").get_models())
# Also of an app that is not installed: its models must not join the core's.
for name in sys.argv[1:]:
    if importlib.util.find_spec(f"{name}.models"):  # The facade has no tables.
        importlib.import_module(f"{name}.models")
apps.clear_cache()
assert set(apps.get_app_config("strangler").get_models()) == core
call_command("makemigrations", "strangler", check=True, dry_run=True, verbosity=0)
print(*sorted(name for name in sys.modules if name.startswith("django_strangler.")))
"""


def run(tmp_path: Path, only: list[str]) -> set[str]:
    """Set the project up and use it; returns our modules that were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(APPS if not only else [])],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "DJANGO_SETTINGS_MODULE": "tests.settings_alone",
            "STRANGLER_TESTS_ONLY": " ".join(only),
            "STRANGLER_TESTS_DATABASE": str(tmp_path / "db.sqlite3"),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("app", APPS)
def test_an_opt_in_app_needs_no_other(tmp_path, app):
    loaded = run(tmp_path, [app])

    others = tuple(f"{other}." for other in APPS if other != app)
    assert not {name for name in loaded if name.startswith(others)}


def test_all_opt_in_apps_get_on_with_each_other(tmp_path):
    loaded = run(tmp_path, APPS)

    assert {f"{app}.apps" for app in APPS} <= loaded


def test_the_core_needs_none_and_takes_none_of_their_models(tmp_path):
    loaded = run(tmp_path, [])

    # Their models were looked at, and nothing has made an app of them.
    assert not {f"{app}.apps" for app in APPS} & loaded
