"""What all tests have at hand."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.services.fixtures"]


@pytest.fixture(autouse=True)
def nothing_logged_yet() -> None:
    """Lines that another test has filled the log with, do not count."""
    from django_strangler.outbox import journal

    journal.sieve.forget()
