"""
The checks of `make lint` catch what they are there to catch.

Each runs on a copy of the package that breaks one rule of the house.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # Each is a run of a tool.


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package that a test may damage."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "django_strangler",
        tmp_path / "django_strangler",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    return run(house, "-c", "from importlinter.cli import *; lint_imports_command()")


def makemigrations_check(house: Path) -> subprocess.CompletedProcess[str]:
    settings = ["--settings", "tests.settings"]
    return run(
        house, "-m", "django", "makemigrations", "--check", "--dry-run", *settings
    )


def run(house: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(house), str(ROOT / "testproject"), str(ROOT)])
    return subprocess.run(
        [sys.executable, *command],
        cwd=house,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_house_as_it_is_passes(house):
    result = lint_imports(house)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("place", ["helpers.py", "helpers/__init__.py"])
def test_a_module_that_is_on_no_floor_fails(house, place):
    module = house / "django_strangler" / place
    module.parent.mkdir(exist_ok=True)
    module.write_text("")

    result = lint_imports(house)

    assert result.returncode == 1
    assert "django_strangler.helpers" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "imported"),
    [
        ("conf.py", "import django_strangler.events", "django_strangler.events"),
        ("events.py", "from .outbox import rules", "django_strangler.outbox.rules"),
        (
            "brokers/base.py",
            "def f():\n    import django_strangler.outbox.models",
            "django_strangler.outbox.models",
        ),
        (
            "outbox/rules.py",
            "from django_strangler import checks",
            "django_strangler.checks",
        ),
    ],
)
def test_an_upward_import_fails(house, module, line, imported):
    with (house / "django_strangler" / module).open("a") as file:
        file.write(f"\n\n{line}\n")

    result = lint_imports(house)

    assert result.returncode == 1
    assert "An import only ever points down BROKEN" in result.stdout
    assert f"-> {imported}" in result.stdout


def test_capabilities_that_know_each_other_fail(house):
    folder = house / "django_strangler" / "inbox"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / "curious.py").write_text("import django_strangler.outbox.models\n")

    result = lint_imports(house)

    assert result.returncode == 1
    assert "django_strangler.inbox.curious -> django_strangler.outbox.models" in (
        result.stdout
    )


def test_an_import_of_the_package_s_own_face_fails(house):
    with (house / "django_strangler" / "checks.py").open("a") as file:
        file.write("\nfrom django_strangler import publish_event\n")

    result = lint_imports(house)

    assert result.returncode == 1
    assert "nothing inside imports it BROKEN" in result.stdout


@pytest.mark.parametrize("library", ["pika", "opentelemetry.trace", "celery"])
def test_a_library_outside_its_home_fails(house, library):
    with (house / "django_strangler" / "outbox" / "rules.py").open("a") as file:
        file.write(f"\nimport {library}\n")

    result = lint_imports(house)

    assert result.returncode == 1
    assert "A library is imported by its one home BROKEN" in result.stdout


def test_the_migrations_as_they_are_pass(house):
    result = makemigrations_check(house)

    assert result.returncode == 0, result.stdout + result.stderr


def test_a_missing_migration_fails(house):
    models = house / "django_strangler" / "outbox" / "models.py"
    models.write_text(
        models.read_text().replace(
            "correlation_id = models.CharField(max_length=255",
            "correlation_id = models.CharField(max_length=254",
        )
    )

    result = makemigrations_check(house)

    assert result.returncode == 1
    assert "Alter field correlation_id on outboxevent" in result.stdout


def test_a_wrong_setting_fails_the_check(house):
    (house / "wrong.py").write_text(
        'from tests.settings import *\nSTRANGLER = {"RETENTON": 5}\n'
    )

    result = run(house, "-m", "django", "check", "--settings", "wrong")

    assert result.returncode == 1
    assert "unknown key 'RETENTON'. Did you mean 'RETENTION'?" in result.stderr
