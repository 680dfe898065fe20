"""Who sleeps for long, and wakes up in another time, changes no books."""

from __future__ import annotations

import pytest

from django_strangler.moves import beginning, mover, syncing
from django_strangler.moves.directions import direction_of
from django_strangler.moves.exceptions import MoveRefused
from django_strangler.moves.mover import Mover
from django_strangler.moves.switching import Switch, settle

from .conftest import Pair, pay


@pytest.fixture
def pair(make_pair) -> Pair:
    pair = make_pair("sqlite")
    pay(pair.legacy, 30)
    pair.start()
    return pair


def start_anew(pair: Pair) -> None:
    beginning.abandon(pair.move)
    pair.start()
    # As long after the first start as it must be, to be another one.
    pair.state().update(started_at="2021-01-01 00:00:00+00:00")


def test_a_page_of_an_abandoned_move_is_not_counted_in_the_next(pair, monkeypatch):
    late = Mover(pair.move)
    copy_page = syncing.copy_page

    def slow(*args):
        copied = copy_page(*args)
        start_anew(pair)
        return copied

    monkeypatch.setattr(mover.syncing, "copy_page", slow)
    late.step()

    assert pair.state().get().progress == {}


def test_what_an_abandoned_move_had_copied_is_not_copied_in_the_next(pair, monkeypatch):
    late = Mover(pair.move)
    while not pair.state().get().progress.get("payments.refund", {}).get("is_done"):
        late.step()
    books = late._books

    def slow(state):
        start_anew(pair)
        return books(state)

    monkeypatch.setattr(late, "_books", slow)
    late.step()

    assert pair.state().get().stage == "copying"


def test_a_finished_move_stays_finished(pair):
    pair.follow()
    state = pair.state().get()
    pair.verify()
    pair.switch("modern")
    direction = direction_of(pair.move)
    beginning.finish(pair.move)

    settle(state, direction)

    assert pair.state().get().stage == "finished"


def test_a_late_switch_opens_nothing_when_the_move_has_ended(pair, monkeypatch):
    pair.follow()
    pair.verify()
    pair.switch("modern")
    pair.follow()
    pair.verify()
    late = Switch(pair.move, "legacy")
    monkeypatch.setattr(late._hold, "join", lambda: beginning.finish(pair.move))

    with pytest.raises(MoveRefused, match="the move was ended"):
        late.run()

    assert direction_of(pair.move).primary == "modern"
    assert not direction_of(pair.move).source.is_closed()


def test_a_hold_outlasts_however_many_marks(pair, monkeypatch, settings):
    settings.STRANGLER = {"MOVES": {"CHUNK": 5}}
    pair.follow()
    pay(pair.legacy, 30)
    busy, kept = Mover(pair.move), []
    keep = busy._hold.keep
    monkeypatch.setattr(busy._hold, "keep", lambda: kept.append(1) or keep())

    busy.step()

    assert pair.is_quiet()
    assert len(kept) >= 6


def test_who_writes_much_keeps_no_copy_from_its_end(pair, settings):
    settings.STRANGLER = {"MOVES": {"CHUNK": 5}}
    pay(pair.legacy, 30)

    Mover(pair.move).step()

    assert len(direction_of(pair.move).source.marks(100)) == 25
    assert pair.state().get().progress["payments.payment"]["rows"] == 60


def test_a_switch_that_was_overtaken_gives_no_number_again(make_pair, monkeypatch):
    pair = make_pair("postgresql")
    pay(pair.legacy, 5)
    pair.start()
    pair.follow()
    pair.verify()
    kind = type(direction_of(pair.move).source)
    next_number, others = kind.next_number, [pair]

    def overtaken(side, table, column):
        number = next_number(side, table, column)
        is_closed = direction_of(pair.move).source.is_closed()
        if others and side.alias == pair.modern and is_closed:
            others.pop()
            Switch(pair.move, "modern").run(resumed=True)  # A mover thinks it is dead.
            pay(pair.modern, 3)
        return number

    monkeypatch.setattr(kind, "next_number", overtaken)
    pair.switch("modern")

    assert not others
    pay(pair.modern, 3)
    assert len(pair.rows(pair.modern)) == 11
