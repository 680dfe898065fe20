"""
What the pages say, runs: see docs/howto/contribute.md for what is run, and how.

A failure's traceback points into the page.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, transaction

from tests.services.databases import database_url
from tests.services.fixtures import MakeDb

from .fences import PAGES, ROOT, Fence, by_place, fences, shown, written_in

# Commands that come to an end, need no server, and belong to the page's story.
AT_ONCE = {"flag", "prune_outbox", "sqlmigrate"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "page", sorted({fence.page for fence in written_in("python")}), ids=shown
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, monkeypatch):
    module = type(sys)(f"docs_{page.stem.replace('-', '_')}")
    # Under a name, so that dataclasses and pickle find what the page defines.
    monkeypatch.setitem(sys.modules, module.__name__, module)
    wanted = [fence for fence in written_in("python") if fence.page == page]
    ran = []

    with transaction.atomic():
        for fence in fences(page):
            if fence in wanted:
                # Shifted, so that a traceback names the page's own line.
                code = "\n" * (fence.line - 1) + fence.code
                exec(compile(code, str(page), "exec"), module.__dict__)
                ran.append(fence)
            elif fence in written_in("console"):
                for words in commands(fence.code):
                    if words[1:2] == ["manage.py"] and words[2] in AT_ONCE:
                        call_command(*words[2:])

    assert ran == wanted != []


def test_pages_about_other_projects_run_beside_them(make_db: MakeDb):
    alias = make_db("postgresql")

    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.apart"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(alias),
            "PYTHONPATH": os.pathsep.join([".", "testproject"]),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    pages = {
        page.stem for page in PAGES if any("apart" in f.words for f in fences(page))
    }
    assert pages == set(done.stdout.split())


QUOTES = [
    (fence, word)
    for page in PAGES
    for fence in fences(page)
    for word in fence.words
    if word.startswith("testproject/")
]


@pytest.mark.parametrize(
    ("fence", "file"),
    QUOTES,
    ids=lambda each: by_place(each) if isinstance(each, Fence) else each,
)
def test_what_a_page_shows_of_the_test_project_stands_there(fence, file):
    assert fence.code in (ROOT / file).read_text()


@pytest.mark.parametrize(
    "fence",
    # The tutorial's own commands come out of the tutorial: tests/first_run types it in.
    [fence for fence in written_in("console") if fence.page.parent.name != "tutorial"],
    ids=lambda fence: f"{shown(fence.page)}:{fence.line}",
)
def test_the_commands_of_a_page_exist(fence):
    for command in commands(fence.code):
        check_command(command, fence.place)


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


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_what_a_sentence_names_exists(page):
    text = page.read_text()
    for fence in fences(page):
        text = text.replace(fence.code, "")

    for words in re.findall(r"`((?:python )?(?:make|manage\.py) [a-z][^`]*)`", text):
        command, name, *rest = shlex.split(words.removeprefix("python "))
        if command == "make":
            check_command([command, name, *rest], page.name)
        else:
            check_options(name, rest, page.name)


def test_the_links_of_the_readme_lead_somewhere():
    # Those of the other pages are Sphinx's.
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


# Not what stands in quotes.
_BETWEEN = r"""\s*(?:&&|\|\||;|\||&)\s*(?=(?:[^"]*"[^"]*")*[^"]*$)"""


def commands(code: str) -> list[list[str]]:
    """What is typed at the prompts, without variables in front, split into words."""
    joined = code.replace("\\\n", " ")
    typed = [line[2:] for line in joined.splitlines() if line.startswith(("$ ", "# "))]
    assert typed, "a console block has a prompt, $ or #, in front of each command"
    found = []
    for line in typed:
        for part in re.split(_BETWEEN, line):
            words = shlex.split(part, comments=True)
            while words and (words[0] == "sudo" or re.match(r"\w+=", words[0])):
                words.pop(0)
            if words:
                found.append(words)
    return found


def check_command(words: list[str], place: str) -> None:
    match words:
        case ["make", *rest]:
            targets = re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text())
            for word in rest:
                if "=" not in word and not word.startswith("-"):
                    assert word in targets, f"{place}: no target {word!r}"
        case [python, script, *rest] if python.rpartition("/")[2] in {
            "python",
            "python3",
        } and script.endswith("manage.py"):
            check_management_command(rest, place)
        case ["django-admin" | "./manage.py" | "manage.py", *rest]:
            check_management_command(rest, place)
        case ["pip", "install", *rest]:
            for word in rest:
                check_extras(word, place)


def check_management_command(words: list[str], place: str) -> None:
    assert words, f"{place}: which command?"
    command, *arguments = words
    if "--database" in arguments:  # The page's reader has more than one.
        arguments[arguments.index("--database") + 1] = DEFAULT_DB_ALIAS
    # Not ours, nor a reason to fail: what the page's reader has installed.
    if command in {"runserver", "startproject", "startapp", "shell"}:
        return
    assert command in get_commands(), f"{place}: no command {command!r}"
    app = get_commands()[command]
    parser = load_command_class(app, command).create_parser("manage.py", command)
    try:
        parser.parse_args(arguments)
    except (CommandError, SystemExit) as error:
        pytest.fail(f"{place}: {' '.join(words)}: {error}")


def check_options(command: str, words: list[str], place: str) -> None:
    """Half a command, as sentences have it, is one whose options exist."""
    assert command in get_commands(), f"{place}: no command {command!r}"
    app = get_commands()[command]
    parser = load_command_class(app, command).create_parser("manage.py", command)
    known = set(parser._option_string_actions)
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        for subparser in action.choices.values():
            known |= set(subparser._option_string_actions)
    for word in words:
        option = word.partition("=")[0]
        assert not option.startswith("--") or option in known, f"{place}: {word}"


def check_extras(word: str, place: str) -> None:
    found = re.match(r"django-strangler\[([\w,-]+)\]", word)
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    for extra in found[1].split(",") if found else ():
        assert re.search(rf"(?m)^{extra} = ", extras), f"{place}: no {extra!r}"
