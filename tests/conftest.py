"""What all tests have at hand."""

from __future__ import annotations

from collections import Counter

import pytest

pytest_plugins = ["tests.services.plugin", "tests.services.fixtures"]


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """
    Of several processes, none shall begin a long file when the others are done.

    So those with slow tests come first, then those with many.
    """
    if hasattr(config, "workerinput"):  # One of several (pytest-xdist).
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: 0 if item.path in slow else 1 / tests[item.path])


@pytest.fixture(autouse=True)
def nothing_logged_yet() -> None:
    """Lines that another test has filled the log with, do not count."""
    from django_strangler.outbox import journal

    journal.sieve.forget()
