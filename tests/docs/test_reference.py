"""The reference lists what the code has: no more, no less, with the same defaults."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

from django.apps import apps

import django_strangler
from django_strangler import conf

PACKAGE = Path(django_strangler.__file__).parent
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def table(page: str) -> list[list[str]]:
    """The cells of each row of the page's tables, heads left out."""
    lines = (REFERENCE / page).read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_settings_page_lists_every_setting_in_the_code_s_order():
    listed = [row[0].strip("`") for row in table("settings.md")]

    assert listed == [each.name.upper() for each in dataclasses.fields(conf.Settings)]


def test_the_settings_page_gives_the_defaults_of_the_code():
    for name, default, _meaning in table("settings.md"):
        documented = conf.parse({name.strip("`"): ast.literal_eval(default.strip("`"))})

        assert documented == conf.Settings(), name


def test_the_checks_page_lists_every_check():
    code = "".join(path.read_text() for path in PACKAGE.rglob("checks*.py"))

    used = set(re.findall(r"\bstrangler\.[EWI]\d{3}\b", code))
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
        f"strangler.{name}"
        for model in apps.get_app_config("strangler").get_models()
        for name, _ in model._meta.permissions
    }
    assert ours
    assert ours <= listed
