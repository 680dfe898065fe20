"""Outboxes in every state, on a database of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import router

from django_strangler.monitoring import recent
from tests.services.fixtures import needed


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look of another test counts."""
    monkeypatch.setattr(recent, "_looks", {})


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Send whatever has no database of its own to this one."""

    def route(alias: str) -> str:
        for name in ("db_for_write", "db_for_read"):
            monkeypatch.setattr(router, name, lambda model, **hints: alias)
        return alias

    return route


@pytest.fixture
def db(any_db, routed) -> str:
    """On each of the three databases."""
    return routed(any_db)


@pytest.fixture
def pooled_db(request, postgresql, make_db) -> Iterator[str]:
    """A PostgreSQL behind a real PgBouncer that pools transactions."""
    with needed("PgBouncer", request) as services:
        bouncer = services.start_pgbouncer(postgresql)
    try:
        yield make_db("postgresql", port=bouncer.port)
    finally:
        bouncer.close()
