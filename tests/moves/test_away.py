"""A server that is away, and transactions that leave no gap."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError, connections
from payments.models import Payment

from django_strangler.moves import Router, atomic, reading, using
from django_strangler.moves.exceptions import MoveRefused
from django_strangler.moves.sides import side_of

from .conftest import Pair, pay


@pytest.fixture
def pair(one_kind) -> Pair:
    """A move that may switch."""
    one_kind.start()
    one_kind.follow()
    one_kind.verify()
    return one_kind


@contextmanager
def away(alias: str) -> Iterator[None]:
    """Nobody answers where its server was."""
    connection = connections[alias]
    connection.close()
    port, connection.settings_dict["PORT"] = connection.settings_dict["PORT"], "1"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port


@pytest.mark.parametrize("stages", [{}, {"payments": (0.0, "following back")}])
def test_writers_on_the_modern_side_need_no_legacy_server(pair, stages):
    pair.switch("modern")
    using.known._stages.update(stages)  # From when they looked last, if they did.

    with away(pair.legacy):
        with atomic("payments") as alias:
            assert alias == pair.modern
            pay(alias, 1)
        with reading("payments") as alias:
            assert alias == pair.modern
        assert Router().db_for_read(Payment) == pair.modern

    pair.follow()
    pair.assert_equal()


def test_nobody_writes_where_the_truth_is_not_because_the_truth_is_away(pair):
    with away(pair.legacy):
        with pytest.raises(DatabaseError), atomic("payments"):
            raise AssertionError("It was let in.")
        with pytest.raises(DatabaseError):
            Router().db_for_read(Payment)

    with atomic("payments") as alias:
        assert alias == pair.legacy


class Long:
    """A transaction on a thread, open until it is told to end."""

    def __init__(self, pair: Pair) -> None:
        self._is_open, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=[pair])

    def _run(self, pair: Pair) -> None:
        try:
            with atomic("payments") as alias:
                Payment.objects.using(alias).update(status="failed")
                self._is_open.set()
                self._end.wait(200)
        finally:
            for alias in (pair.legacy, pair.modern):
                connections[alias].close()

    def __enter__(self) -> Long:
        self._thread.start()
        assert self._is_open.wait(60)
        return self

    def end(self) -> None:
        self._end.set()
        self._thread.join()

    def __exit__(self, *error: object) -> None:
        self.end()


def test_a_switch_takes_the_gap_between_two_long_transactions(pair, monkeypatch):
    side = type(side_of("payments", pair.legacy))
    close, asked = side.close, []

    with Long(pair) as long:

        def closing(self: object, timeout: float) -> int:
            asked.append(timeout)
            if asked.count(0) == 3:
                long.end()  # And the next one would begin at once.
            return close(self, timeout)

        monkeypatch.setattr(side, "close", closing)
        pair.switch("modern")

    assert asked[0] > 0
    # On a slow machine it may have queued once more between two looks.
    assert asked.count(0) == 3
    assert asked[-1] == 0
    pair.follow()
    pair.assert_equal()


def test_without_a_gap_a_switch_gives_up_and_says_why(pair, settings):
    # Long enough for a quick pass over the marks, however slow one is.
    settings.STRANGLER = {"MOVES": {"PATIENCE": 2.0}}

    with Long(pair), pytest.raises(MoveRefused, match="without a gap"):
        pair.switch("modern")

    assert not side_of("payments", pair.legacy).is_closed()
