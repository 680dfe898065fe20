"""
The pytest option ``--strangler-survey``: the tests are the free trace.

As it is loaded into every pytest run, nothing of Django is imported up here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import pytest

KEY = "strangler_survey"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the option known."""
    parser.getgroup("django-strangler").addoption(
        "--strangler-survey",
        action="store_true",
        help="note joins, transactions and writes across domains, for strangler_survey",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Do nothing unless it was asked for."""
    if config.getoption("--strangler-survey"):
        config.pluginmanager.register(Watching(config), KEY)


class Watching:
    """Observes the run; of several processes, the first gathers what all have seen."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._parts: list[dict[str, Any]] = []
        self._said = ""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None]:
        """Look at all tests of this process."""
        if self._config.pluginmanager.hasplugin("dsession"):
            yield  # The tests run in other processes (pytest-xdist).
            return
        from django.apps import apps

        if not apps.ready or not apps.is_installed("django_strangler.survey"):
            raise pytest.UsageError(
                "--strangler-survey needs Django's settings, and "
                '"django_strangler.survey" in INSTALLED_APPS.'
            )
        from . import observed
        from .observing import Observer, observing
        from .territory import Territory

        territory = Territory()
        observer = Observer(territory)
        with ExitStack() as stack:
            stack.enter_context(observing(observer, territory))
            yield
        self._parts.append(observed.plain(observer.seen, observer.totals))
        output = getattr(self._config, "workeroutput", None)
        if output is not None:  # One of several processes (pytest-xdist).
            output[KEY] = self._parts.pop()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Another process has ended."""
        if KEY in getattr(node, "workeroutput", {}):
            self._parts.append(node.workeroutput[KEY])

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Leave what was seen for the survey."""
        if self._parts and not hasattr(self._config, "workeroutput"):
            from . import observed

            seen = observed.merged(self._parts)
            observed.write(observed.path(), seen)
            self._said = f"couplings seen: {len(seen.couplings)}, in {observed.path()}"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where it is."""
        if self._said:
            terminalreporter.write_line(f"strangler-survey: {self._said}")
