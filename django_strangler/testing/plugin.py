"""
The pytest plugin: fixtures for what a test has published.

It is loaded into every pytest run of an environment that has django-strangler, also
where Django is not configured or not used: nothing of Django is imported up here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from django_strangler.testing.published import AssertPublished, PublishedEvents

MARKER = "strangler_autocommit"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for --strict-markers."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}: let this test publish events outside of transaction.atomic().",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, None]:
    """Heed the marker, in the test's fixtures as well."""
    with ExitStack() as stack:
        if item.get_closest_marker(MARKER):
            from django_strangler.testing.published import autocommit_allowed

            stack.enter_context(autocommit_allowed())
        yield


@pytest.fixture
def published_events() -> PublishedEvents:
    """
    The events that the test has published so far, oldest first.

    They are read from the outbox each time, so what rolled back is not among them.
    """
    from django_strangler.testing.published import PublishedEvents

    return PublishedEvents()


@pytest.fixture
def assert_published(published_events: PublishedEvents) -> AssertPublished:
    """``assert_published("payment.completed", key=payment, payload={…})``."""
    return published_events.assert_published
