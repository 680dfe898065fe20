"""What a user gets from pip."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# With what these need in turn.
REQUIRED = {"django", "pika", "opentelemetry-api"}
NEEDED_BY_THEM = {
    *("asgiref", "sqlparse", "tzdata"),  # django
    *("typing-extensions", "importlib-metadata", "zipp", "deprecated", "wrapt"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", wheel)
    return python


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.partition("/")[0] for name in names}
    assert tops == {"django_strangler", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}
    assert "django_strangler/py.typed" in names
    assert "django_strangler/migrations/0001_initial.py" in names
    assert not [name for name in names if "__pycache__" in name or "test_" in name]


def test_the_wheel_holds_every_file_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())

    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "django_strangler").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= names


def test_an_index_page_leads_to_what_there_is(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    shown = message_from_string(archive.read(name).decode())

    addresses = [each.partition(", ") for each in shown.get_all("Project-URL")]
    assert {name for name, _, _ in addresses} >= {"Documentation", "Source", "Issues"}
    pages = [url for _, _, url in addresses if "/main/" in url]
    pages += re.findall(r"\]\((?!#)([^)]+)\)", shown.get_payload())
    assert len(pages) > 20
    for page in pages:
        address, is_ours, path = page.partition("/django-strangler/django-strangler/")
        assert address.startswith("https://"), page
        if is_ours:
            assert (ROOT / re.sub(r"^(blob/)?main/", "", path)).exists(), page


def test_the_wheel_brings_only_what_it_needs(python):
    listed = run(sys.executable, "-m", "pip", "--python", python, "freeze", "--all")

    installed = {
        re.sub(r"[-_.]+", "-", re.split(r"==| @ ", line)[0]).lower()
        for line in listed.splitlines()
    }
    assert installed >= {"django-strangler", *REQUIRED}
    assert installed - {"django-strangler"} - REQUIRED <= NEEDED_BY_THEM


def test_the_installed_app_migrates_and_publishes(python, tmp_path):
    (tmp_path / "project.py").write_text(
        """
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_strangler"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db"}},
)
django.setup()

from django.core.management import call_command
from django.db import transaction
from django_strangler import publish_event
from django_strangler.models import OutboxEvent

call_command("check")
call_command("migrate", verbosity=0)
with transaction.atomic():
    publish_event("payment.completed", {"paymentId": 1})
print(OutboxEvent.objects.pending().get().body)
"""
    )

    printed = run(python, "project.py", cwd=tmp_path)

    assert '{"paymentId":1}' in printed


def test_the_package_imports_without_django_being_set_up(python, tmp_path):
    run(python, "-c", "import django_strangler", cwd=tmp_path)
