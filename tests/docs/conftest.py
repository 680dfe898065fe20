"""Subscribers, contracts and moves that a page defines are gone after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_strangler.contracts import upcasters
from django_strangler.contracts.declare import registry
from django_strangler.inbox import subscribers
from django_strangler.moves import capturing, declaring


@pytest.fixture(autouse=True)
def registry_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers.registry, "_by_name", {})
    monkeypatch.setattr(subscribers.registry, "_discovered", True)


@pytest.fixture(autouse=True)
def contracts_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """So are contracts."""
    monkeypatch.setattr(registry, "events", {})
    monkeypatch.setattr(registry, "readers", [])
    monkeypatch.setattr(registry, "_discovered", True)
    monkeypatch.setattr(upcasters, "registered", {})


@pytest.fixture(autouse=True)
def moves_of_the_page() -> Iterator[None]:
    """So are moves."""
    known = (declaring.registry, capturing.captures)
    before = [dict(each) for each in known]
    for each in known:
        each.clear()
    yield
    for each, values in zip(known, before, strict=True):
        each.clear()
        each.update(values)
