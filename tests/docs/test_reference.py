"""The reference lists what the code has: no more, no less, with the same defaults."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from django.apps import apps

import django_strangler
from django_strangler import conf

PACKAGE = Path(django_strangler.__file__).parent
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def table(page: str, heading: str = "") -> list[list[str]]:
    """The cells of each row of the page's tables, or of one section's; no heads."""
    text = (REFERENCE / page).read_text()
    if heading:
        parts = re.split(r"^## `(\w+)`$", text, flags=re.MULTILINE)
        text = dict(zip(["CORE", *parts[1::2]], parts[::2], strict=True))[heading]
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


TABLES = {"CORE": conf.Settings, "RELAY": conf.RelaySettings} | {
    name: section.cls
    for name, section in conf.registered().items()
    if section.cls is not None and name != "EXAMPLE"
}


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_page_lists_every_setting_in_the_code_s_order(name):
    listed = [row[0].strip("`") for row in table("settings.md", name)]

    fields = dataclasses.fields(TABLES[name])
    assert listed == [each.name.upper() for each in fields]


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_page_gives_the_defaults_of_the_code(name):
    for key, default, _meaning in table("settings.md", name):
        given = {key.strip("`"): ast.literal_eval(default.strip("`"))}

        assert conf.table(TABLES[name])(given) == TABLES[name](), key


def test_the_checks_page_lists_every_check():
    code = "".join(path.read_text() for path in PACKAGE.rglob("checks*.py"))

    used = set(re.findall(r"\bstrangler(?:_[a-z_]+)?\.[EWI]\d{3}\b", code))
    assert used
    assert [row[0].strip("`") for row in table("checks.md")] == sorted(used)


def test_the_commands_page_has_a_section_for_each_command():
    sections = re.findall(
        r"^## `(\w+)`$", (REFERENCE / "commands.md").read_text(), re.M
    )
    files = (PACKAGE / "management" / "commands").glob("[!_]*.py")

    assert sorted(sections) == sorted(path.stem for path in files)


def test_the_admin_page_lists_every_permission_of_ours():
    listed = {row[0].strip("`") for row in table("admin.md")}

    ours = {
        f"{config.label}.{name}"
        for config in apps.get_app_configs()
        if config.name.partition(".")[0] == "django_strangler"
        for model in config.get_models()
        for name, _ in model._meta.permissions
    }
    assert ours
    assert ours <= listed


def test_every_test_that_a_page_names_exists():
    root, tests = REFERENCE.parents[1], REFERENCE.parents[1] / "tests"
    named = {
        (page.name, name)
        for page in [root / "README.md", *(root / "docs").rglob("*.md")]
        for name in re.findall(r"`(tests/[\w/.]+|test_\w+\.py)`", page.read_text())
    }

    assert {name for _, name in named} >= {"tests/outbox", "test_fire.py"}
    assert [
        (page, name)
        for page, name in sorted(named)
        if not (root / name).exists() and not any(tests.rglob(name))
    ] == []
