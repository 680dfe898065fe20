"""A registry of a test's own."""

from __future__ import annotations

import pytest

from django_strangler.inbox import subscribers


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> subscribers.Registry:
    """No subscribers but those that the test registers."""
    empty = {"_by_name": {}, "_discovered": True, "broken_modules": {}}
    for name, value in empty.items():
        monkeypatch.setattr(subscribers.registry, name, value)
    return subscribers.registry
