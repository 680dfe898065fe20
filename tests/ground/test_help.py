"""Every command explains itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandParser

import django_strangler


def commands() -> list[str]:
    """Those of the package, opt-in apps among it."""
    return sorted(
        name
        for name, app in get_commands().items()
        if str(app).startswith("django_strangler")
    )


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser of a command, and those of its verbs."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from parsers(verb)


@pytest.mark.parametrize("name", commands())
def test_a_command_and_each_of_its_verbs_print_their_help(name):
    # Python before 3.14 finds a stray % in a help text no sooner than it is shown.
    parser: CommandParser = load_command_class(
        get_commands()[name], name
    ).create_parser("manage.py", name)

    for each in parsers(parser):
        assert "usage: manage.py" in each.format_help()


def test_no_command_of_the_package_is_left_out():
    folder = Path(django_strangler.__file__).parent
    written = {
        path.stem
        for path in folder.glob("**/management/commands/*.py")
        if path.stem != "__init__"
    }

    assert written == set(commands())
