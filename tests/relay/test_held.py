"""Types that a broker does not take: the rules, without a database."""

from __future__ import annotations

from django_strangler.models import HeldType as HeldRow
from django_strangler.outbox import held_rows
from django_strangler.outbox.held import Change, Held, Suspension

FULL = "mail.wanted"


def refused(held: Held, *rows: int, now: float) -> None:
    """As after a nack of each."""
    for row in rows:
        held.refuse(FULL, row, "nacked", "full", now)


def test_a_refusal_holds_the_type_and_no_other() -> None:
    held = Held()

    refused(held, 1, 2, now=0.0)

    assert held.types == {FULL}
    assert held.changes == {FULL: Change.HELD}
    assert held[FULL].tries == 0


def test_probes_become_rarer_up_to_a_minute() -> None:
    held, now, pauses = Held(), 0.0, []
    refused(held, 1, now=now)
    for row in range(2, 12):
        assert held.due(now) == []
        pauses.append(held[FULL].probe_at - now)
        now = held[FULL].probe_at
        assert held.due(now) == [FULL]
        held.probe(FULL, [row])
        assert held.due(now) == []  # One at a time.
        refused(held, row, now=now)

    assert 0.7 <= pauses[0] <= 1.0
    assert 45 <= pauses[-1] <= 60


def test_a_probe_that_decides_something_is_not_late() -> None:
    held = Held()
    refused(held, 1, now=0.0)

    held.probe_by(FULL, 0.5, now=0.0)

    assert not held.due(0.49)
    assert held.due(0.5) == [FULL]

    held.probe_by(FULL, 60.0, now=0.0)  # It is no later for that,
    assert held.due(0.5) == [FULL]
    held.probe_by(FULL, 0.0, now=0.1)  # and what has passed decides nothing any more.
    assert not held.due(0.49)


def test_a_confirm_of_what_was_sent_before_opens_nothing() -> None:
    held = Held()
    refused(held, 1, now=0.0)

    held.confirm(FULL, 2, 0.1, window=1)

    assert held.types == {FULL}


def test_a_type_opens_slowly_until_a_window_went_through() -> None:
    held, now, row = Held(), 10.0, 100
    refused(held, 1, now=0.0)
    allowed = []
    while FULL in held:
        assert held.due(now) == [FULL]
        allowed.append(held[FULL].allowed)
        rows = range(row, row + allowed[-1])
        held.probe(FULL, rows)
        for each in rows:
            held.confirm(FULL, each, now, window=20)
        row += 100

    assert allowed == [1, 2, 4, 8, 16]
    assert held.changes == {FULL: Change.OPENED}
    assert held.types == set()


def test_a_refusal_while_it_opens_holds_it_again() -> None:
    held = Held()
    refused(held, 1, now=0.0)
    held.probe(FULL, [2])
    held.confirm(FULL, 2, 5.0, window=20)
    held.probe(FULL, [3, 4])
    held.confirm(FULL, 3, 5.0, window=20)

    refused(held, 4, now=5.0)

    assert held.due(5.0) == []
    assert (held[FULL].allowed, held[FULL].went, held[FULL].tries) == (1, 0, 1)


def test_what_another_relay_holds_is_left_out_and_opens_with_it() -> None:
    held = Held()
    theirs = Suspension("nacked", "full", since=0.0, probe_at=50.0)

    assert held.take({FULL: theirs}, 10.0) is False
    assert held.types == {FULL}
    assert held.take({}, 12.0) is True
    assert held.types == set()


def test_what_nobody_has_probed_for_long_is_forgotten() -> None:
    held = Held()

    held.take({FULL: Suspension("nacked", "full", since=0.0, probe_at=0.0)}, 1000.0)

    assert held.types == set()
    assert held.changes == {FULL: Change.OPENED}


def test_what_is_paused_is_neither_sent_nor_probed() -> None:
    held = Held()
    refused(held, 1, now=0.0)

    assert held.pause([FULL, "a.b"], ["k"], everything=False) is False
    assert held.types == {FULL, "a.b"}
    assert held.keys == {"k"}
    assert held.due(100.0) == []
    assert held.pause([], [], everything=False) is True
    assert held.due(100.0) == [FULL]


def test_every_type_can_be_written_down_on_every_database(any_db) -> None:
    held, types = Held(), {f"payment.n{number}" for number in range(50)}
    for type in types:
        held.refuse(type, 1, "nacked", "A queue is full.", 0.0)

    held_rows.write(held, 0.0, using=any_db)

    assert set(HeldRow.objects.using(any_db).values_list("type", flat=True)) == types
    assert not held.changes
