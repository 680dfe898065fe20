"""
What a run of the tests does about services: its options, its beginning and its end.

A service that cannot be had skips its tests; `--require-services` lets them fail.
`--without-services` skips all of them. The end of the run says where each came from.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from . import leftovers
from .base import Unavailable
from .services import NoServices, Services

SERVICES = pytest.StashKey[Services]()
FOUND = pytest.StashKey[dict[str, str]]()  # By name: where it comes from.
MISSING = "missing"  # A property of reports: which service, and why.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-services",
        action="store_true",
        help="fail tests whose service (PostgreSQL, MariaDB, RabbitMQ) cannot be had",
    )
    parser.addoption(
        "--without-services",
        action="store_true",
        help="start no server, and skip the tests that want one",
    )


def pytest_configure(config: pytest.Config) -> None:
    def announce(text: str) -> None:
        manager = config.pluginmanager.getplugin("capturemanager")
        shown = (
            manager.global_and_fixture_disabled if manager else contextlib.nullcontext
        )
        with shown():
            # By a process among several, the other stream is not for people.
            print(f"\n*** {text}", file=sys.stderr, flush=True)

    without = config.getoption("--without-services")
    config.stash[SERVICES] = (NoServices if without else Services)(announce)
    config.stash[FOUND] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    leftovers.sweep()


def pytest_sessionfinish(session: pytest.Session) -> None:
    found = session.config.stash[SERVICES].found()
    session.config.stash[FOUND].update(found)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["found"] = found


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """One of several processes is done (pytest-xdist)."""
    node.config.stash[FOUND].update(getattr(node, "workeroutput", {}).get("found", {}))


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVICES in config.stash:
        config.stash[SERVICES].close()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for name, origin in config.stash[FOUND].items():
        terminalreporter.write_line(f"{name}: {origin}")
    missing: dict[str, str] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if reason := dict(getattr(report, "user_properties", ())).get(MISSING):
                missing[report.nodeid] = reason
    if not missing:
        return
    terminalreporter.section(
        "services that cannot be had", sep="=", red=True, bold=True
    )
    for reason in sorted(set(missing.values())):
        tests = [test for test, why in missing.items() if why == reason]
        verb = "failed" if config.getoption("--require-services") else "skipped"
        terminalreporter.write_line(f"{len(tests)} tests {verb}: {reason}", red=True)


class MissingSkipped(pytest.skip.Exception):  # type: ignore[name-defined]
    """Skipped: its service cannot be had."""

    # So that pytest shows the reason without the name of this class.
    __module__, __qualname__ = "builtins", "Skipped"


class MissingFailed(pytest.fail.Exception):  # type: ignore[name-defined]
    """The same, with --require-services."""


@contextlib.contextmanager
def needed(name: str, request: pytest.FixtureRequest) -> Iterator[Services]:
    """Turn "cannot be had" into a skip, or a failure where skipping is forbidden."""
    try:
        yield request.config.stash[SERVICES]
    except Unavailable as error:
        reason = f"{name} cannot be had: {error}"
        if request.config.getoption("--require-services"):
            raise MissingFailed(reason, pytrace=False) from error
        raise MissingSkipped(reason) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    # Here and not where it is raised: a session fixture raises it for many tests.
    error = call.excinfo and call.excinfo.value
    if isinstance(error, (MissingSkipped, MissingFailed)):
        item.user_properties.append((MISSING, str(error)))
