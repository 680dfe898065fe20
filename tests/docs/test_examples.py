"""
What the pages say, runs: see docs/howto/contribute.md for what is run, and how.

A failure's traceback points into the page.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import transaction

from .fences import Fence, fences

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCES = [
    fence for page in PAGES if "_build" not in page.parts for fence in fences(page)
]
# Whoever uses another language decides here how a mistake in it is found.
KNOWN = {"", "console", "ini", "json", "mermaid", "python", "text", "toml"}


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


def written_in(language: str) -> list[Fence]:
    return [
        fence
        for fence in FENCES
        if fence.language == language and "no-run" not in fence.words
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", sorted({fence.page for fence in written_in("python")}), ids=shown
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, monkeypatch):
    module = type(sys)(f"docs_{page.stem.replace('-', '_')}")
    # Under a name, so that dataclasses and pickle find what the page defines.
    monkeypatch.setitem(sys.modules, module.__name__, module)

    with transaction.atomic():
        for fence in written_in("python"):
            if fence.page == page:
                # Shifted, so that a traceback names the page's own line.
                code = "\n" * (fence.line - 1) + fence.code
                exec(compile(code, str(page), "exec"), module.__dict__)


@pytest.mark.parametrize(
    "fence",
    written_in("console"),
    ids=lambda fence: f"{shown(fence.page)}:{fence.line}",
)
def test_the_commands_of_a_page_exist(fence):
    for command in commands(fence.code):
        check_command(command, fence)


def test_json_is_well_formed():
    for fence in written_in("json"):
        json.loads(fence.code)


def test_ini_is_well_formed():
    for fence in written_in("ini"):
        # systemd allows a key several times.
        configparser.RawConfigParser(strict=False).read_string(fence.code)


def test_toml_is_well_formed():
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    for fence in written_in("toml"):
        tomllib.loads(fence.code)


@pytest.mark.parametrize(
    "line",
    [
        "make tset",
        "cd x && make tset",
        "DEBUG=1 python manage.py migrate_outbox",
        "python manage.py migrate --no-such-option",
        "pip install 'django-strangler[cellery]'",
    ],
)
def test_a_wrong_command_is_found(line):
    fence = Fence(page=ROOT, line=1, language="console", words=(), code=f"$ {line}\n")

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_the_commands_of_a_page_exist(fence)


def test_every_language_on_the_pages_is_one_that_is_checked():
    unknown = [
        f"{fence.place}: {fence.language}"
        for fence in FENCES
        if fence.language not in KNOWN and not fence.language.startswith("{")
    ]

    assert not unknown


def commands(code: str) -> list[list[str]]:
    """What is typed at the prompts, without variables in front, split into words."""
    joined = code.replace("\\\n", " ")
    typed = [line[2:] for line in joined.splitlines() if line.startswith(("$ ", "# "))]
    assert typed, "a console block has a prompt, $ or #, in front of each command"
    found = []
    for line in typed:
        for part in re.split(r"\s*(?:&&|\|\||;|\||&)\s*", line):
            words = shlex.split(part, comments=True)
            while words and (words[0] == "sudo" or re.match(r"\w+=", words[0])):
                words.pop(0)
            if words:
                found.append(words)
    return found


def check_command(words: list[str], fence: Fence) -> None:
    match words:
        case ["make", *rest]:
            targets = re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text())
            for word in rest:
                if "=" not in word and not word.startswith("-"):
                    assert word in targets, f"{fence.place}: no target {word!r}"
        case ["python" | "python3", script, *rest] if script.endswith("manage.py"):
            check_management_command(rest, fence)
        case ["django-admin" | "./manage.py" | "manage.py", *rest]:
            check_management_command(rest, fence)
        case ["pip", "install", *rest]:
            for word in rest:
                check_extras(word, fence)


def check_management_command(words: list[str], fence: Fence) -> None:
    assert words, f"{fence.place}: which command?"
    command, *arguments = words
    # Not ours, nor a reason to fail: what the page's reader has installed.
    if command in {"runserver", "startproject", "startapp", "shell"}:
        return
    assert command in get_commands(), f"{fence.place}: no command {command!r}"
    app = get_commands()[command]
    parser = load_command_class(app, command).create_parser("manage.py", command)
    try:
        parser.parse_args(arguments)
    except (CommandError, SystemExit) as error:
        pytest.fail(f"{fence.place}: {' '.join(words)}: {error}")


def check_extras(word: str, fence: Fence) -> None:
    found = re.match(r"django-strangler\[([\w,-]+)\]", word)
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    for extra in found[1].split(",") if found else ():
        assert re.search(rf"(?m)^{extra} = ", extras), f"{fence.place}: no {extra!r}"
