"""Subscribers that a page defines are gone after it."""

from __future__ import annotations

import pytest

from django_strangler.inbox import subscribers


@pytest.fixture(autouse=True)
def registry_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers.registry, "_by_name", {})
    monkeypatch.setattr(subscribers.registry, "_discovered", True)
