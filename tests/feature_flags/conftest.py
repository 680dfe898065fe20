"""Flags in a database of the test's own, and a clock that stands still."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from django_strangler.feature_flags import evaluation, snapshot
from django_strangler.feature_flags.own_changes import own


class RouteTo:
    """A database router: everything lives there."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: type, **hints: object) -> str:
        return self.alias

    db_for_write = db_for_read


class Clock:
    """Stands in for the monotonic clock of the snapshot."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def pass_refresh(self) -> None:
        self.time += 1.5


@contextlib.contextmanager
def queries(alias: str) -> Iterator[list[str]]:
    """The statements that go to a database meanwhile."""
    seen: list[str] = []

    def note(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        seen.append(sql)
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        yield seen


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has just been started."""
    monkeypatch.setattr(snapshot._state, "view", snapshot.Shared())
    monkeypatch.setattr(snapshot._state, "failing", False)
    evaluation.decisions.reset()
    evaluation._missed.clear()
    evaluation._unknown.clear()
    own.forget()
    yield
    own.forget()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshot, "monotonic", clock)
    return clock


@pytest.fixture
def route(settings: object) -> Callable[[str], str]:
    def route(alias: str) -> str:
        settings.DATABASE_ROUTERS = [RouteTo(alias)]  # type: ignore[attr-defined]
        return alias

    return route


@pytest.fixture
def flag_db(any_db: str, route: Callable[[str], str]) -> str:
    """Flags in a database of their own, on each kind of database."""
    return route(any_db)


@pytest.fixture
def flag_db_rolled_back(any_db_rolled_back: str, route: Callable[[str], str]) -> str:
    """The same inside a transaction, as in a TestCase: faster."""
    return route(any_db_rolled_back)


@pytest.fixture
def sqlite_flags(sqlite_db: str, route: Callable[[str], str]) -> str:
    return route(sqlite_db)
