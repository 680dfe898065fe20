"""A database for keys and effects."""

from __future__ import annotations

import pytest
from django.db import router


@pytest.fixture
def db_of_keys(any_db: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the three in turn; what is written goes there."""
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: any_db)
    return any_db


@pytest.fixture
def quick_db_of_keys(any_db_rolled_back: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same in a TestCase's transaction."""
    alias = any_db_rolled_back
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
    return alias


@pytest.fixture
def sqlite_rolled_back(databases, django_db_blocker, monkeypatch):
    """Where the kind of the database does not matter."""
    with django_db_blocker.unblock(), databases.rolled_back("sqlite") as alias:
        monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
        yield alias
