"""A registry of a test's own, and a database for its inbox."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import router

from django_strangler.inbox import subscribers


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> subscribers.Registry:
    """No subscribers but those that the test registers."""
    empty = {"_by_name": {}, "_discovered": True, "broken_modules": {}}
    for name, value in empty.items():
        monkeypatch.setattr(subscribers.registry, name, value)
    return subscribers.registry


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Send the inbox, and whatever the subscribers write, to this database."""

    def route(alias: str) -> str:
        monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
        return alias

    return route
