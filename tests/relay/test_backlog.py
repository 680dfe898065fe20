"""What a relay has in memory."""

from __future__ import annotations

from django_strangler.outbox.backlog import Backlog
from django_strangler.outbox.rows import Due
from tests.brokers.factories import outgoing


def test_events_without_a_key_are_free() -> None:
    backlog = Backlog(capacity=4)

    backlog.add([Due(outgoing(row), 0.0) for row in range(1, 101)], now=0.0)

    assert len(backlog.take(100, 10**9)) == 100


def test_a_few_crowded_keys_leave_room_for_others() -> None:
    backlog = Backlog(capacity=40)
    crowd = [outgoing(row, key="hot", order_key="hot") for row in range(1, 1001)]
    pairs = [
        outgoing(2000 + n, key=f"k{n // 2}", order_key=f"k{n // 2}") for n in range(20)
    ]

    backlog.add([Due(event, 0.0) for event in [*crowd, *pairs]], now=0.0)

    assert backlog.left_out_keys() == ["hot"]
    waiting = [event.row for event in backlog.take(100, 10**9)]
    assert waiting == [1, *range(2000, 2020, 2)]


def test_what_is_larger_than_the_window_goes_alone() -> None:
    backlog = Backlog(capacity=4)
    events = [outgoing(row)._replace(size=100) for row in (1, 2)]
    backlog.add([Due(event, 0.0) for event in events], now=0.0)

    assert [event.row for event in backlog.take(10, 50)] == [1]
    assert backlog.take(10, 50) == []
    backlog.land(1)
    assert [event.row for event in backlog.take(10, 50)] == [2]


def test_an_event_that_may_not_be_sent_stops_those_behind_it() -> None:
    backlog = Backlog(capacity=40)
    rows = [
        outgoing(1, key="a", order_key="a"),
        outgoing(2, key="b", order_key="b"),
        outgoing(3, key="b", order_key="b", type="mail.wanted"),
        outgoing(4, key="b", order_key="b"),
        outgoing(5, key="c", order_key="c", type="mail.wanted"),
        outgoing(6, key="c", order_key="c"),
    ]

    backlog.add([Due(row, 0.0) for row in rows], 0.0, without_types={"mail.wanted"})

    assert [event.row for event in backlog.take(10, 10**9)] == [1, 2]
    backlog.confirm(backlog.land(2) or rows[1])
    assert backlog.take(10, 10**9) == []
