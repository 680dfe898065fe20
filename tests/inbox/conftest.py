"""A registry of a test's own, and what it takes to deliver to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_strangler.inbox import local, subscribers


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[subscribers.Registry]:
    """No subscribers but those that the test registers."""
    fresh = subscribers.Registry()
    fresh._discovered = True
    monkeypatch.setattr(subscribers, "registry", fresh)
    monkeypatch.setattr(local, "registry", fresh)
    return fresh


@pytest.fixture
def calls() -> list[tuple[str, object]]:
    """What subscribers of the test were called with."""
    return []


Record = Callable[..., None]
