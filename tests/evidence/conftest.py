"""Evidence in a database of the test's own, counted from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_strangler.evidence import noting
from django_strangler.evidence.noting import counts
from django_strangler.feature_flags.watch import announcer, watch
from tests.feature_flags.conftest import RouteTo, forgotten, queries

__all__ = ["forgotten", "queries"]


@pytest.fixture(autouse=True)
def nothing_noted() -> Iterator[None]:
    """As in a process that has just been started."""
    counts.restart()
    watch.forget()
    announcer.forget()
    yield
    counts.restart()
    watch.forget()


@pytest.fixture
def with_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As outside of tests: what is noted, a thread writes."""
    monkeypatch.setattr(noting, "_is_testing", lambda: False)
    noting.recorder.restart()
    yield
    noting.recorder.stop()
    noting.recorder.restart()


@pytest.fixture
def route(settings: object) -> Callable[[str], str]:
    def route(alias: str) -> str:
        settings.DATABASE_ROUTERS = [RouteTo(alias)]  # type: ignore[attr-defined]
        return alias

    return route


@pytest.fixture
def evidence_db(any_db: str, route: Callable[[str], str]) -> str:
    """Evidence and flags in a database of their own, on each kind of database."""
    return route(any_db)


@pytest.fixture
def evidence_db_rolled_back(
    any_db_rolled_back: str, route: Callable[[str], str]
) -> str:
    """The same inside a transaction, as in a TestCase: faster."""
    return route(any_db_rolled_back)
