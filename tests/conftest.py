"""What all tests have at hand."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.services.plugin", "tests.services.fixtures"]


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Of several processes, none shall begin a slow file when the others are done."""
    if hasattr(config, "workerinput"):  # One of several (pytest-xdist).
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def nothing_logged_yet() -> None:
    """Lines that another test has filled the log with, do not count."""
    from django_strangler.outbox import journal

    journal.sieve.forget()
