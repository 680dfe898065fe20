"""The last hour in numbers, and as a drawing; exact when quiet, bounded when busy."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db import connections

from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent
from django_strangler.monitoring import traffic
from django_strangler.monitoring.chart import HEIGHT, Chart, draw
from django_strangler.monitoring.traffic import COUNTED, MINUTES, Traffic

NOON = datetime(2026, 11, 28, 12, 0)


def drawn(traffic: Traffic) -> Chart:
    return draw(traffic, until=NOON)


def publish(alias: str, *moments: tuple[float, float | None]) -> None:
    """Events that were published and confirmed so many seconds ago."""
    OutboxEvent.objects.using(alias).bulk_create(
        OutboxEvent(
            type="payment.completed",
            body="{}",
            published_at=DatabaseNow(-published),
            confirmed_at=None if confirmed is None else DatabaseNow(-confirmed),
        )
        for published, confirmed in moments
    )


def by_minute(**counts: int) -> tuple[int, ...]:
    """by_minute(m0=3): three in the last minute, none before."""
    return tuple(counts.get(f"m{ago}", 0) for ago in reversed(range(MINUTES)))


def hour(published: int = 0, confirmed: int = 0, *, burst: int = 0, step: int = 1):
    """An even hour, with that many more confirmed in its last minute."""
    return Traffic(
        published=(published,) * MINUTES,
        confirmed=(*(confirmed,) * (MINUTES - 1), confirmed + burst),
        step=step,
    )


def test_each_minute_has_what_was_published_and_confirmed_in_it(any_db):
    publish(any_db, (90_000, 89_000), (3_700, 3_650), (3_560, 3_550), (3_700, 65))
    publish(any_db, (130, 125), (125, 90), (40, 10), (35, 30), (30, None), (5, None))

    seen = traffic.look(any_db)

    assert seen.published == by_minute(m59=1, m2=2, m0=4)
    assert seen.confirmed == by_minute(m59=1, m2=1, m1=2, m0=2)
    assert seen.step == 1


@pytest.mark.parametrize("into", [22.0, 41.0, 58.0])
def test_a_minute_is_the_clock_s_and_stays_where_it_is(any_db, into):
    """Seen at 12:00:22 and at 12:00:58, an event of 11:59:58 is one of 11:59."""
    publish(any_db, (into + 2, into + 1), (into - 21, into - 21), (into + 62, 0.5))

    seen = traffic.look(any_db, into=into)

    assert seen.published == by_minute(m2=1, m1=1, m0=1)
    assert seen.confirmed == by_minute(m1=1, m0=2)
    chart = drawn(seen)
    assert (chart.first, chart.last) == ("11:01", "12:00")
    assert chart.bars[-2].text == "11:59: 1 published, 1 confirmed"


def test_an_empty_outbox_had_no_traffic(any_db):
    assert traffic.look(any_db) == Traffic(published=by_minute(), confirmed=by_minute())


def test_gaps_in_the_ids_are_no_events(any_db):
    publish(any_db, *[(30, None)] * 100)
    OutboxEvent.objects.using(any_db).filter(id__lte=90).delete()

    assert traffic.look(any_db).published == by_minute(m0=10)


def test_a_busy_hour_is_sampled(any_db, monkeypatch):
    monkeypatch.setattr(traffic, "EXACT", 100)
    monkeypatch.setattr(traffic, "SAMPLED", 100)
    monkeypatch.setattr(traffic, "COUNTED", 50)
    publish(any_db, *[(7_200, 7_100)] * 300)
    publish(any_db, *[(90, 80)] * 200, *[(30, 20)] * 100)

    seen = traffic.look(any_db)

    assert seen.step == 6
    assert seen.published[-2:] == (pytest.approx(200, abs=6), pytest.approx(100, abs=6))
    assert seen.confirmed[-2:] == (50, 50)
    assert "about" in drawn(seen).summary


def test_the_sample_and_the_count_are_bounded(sqlite_db, monkeypatch):
    monkeypatch.setattr(traffic, "EXACT", 100)
    monkeypatch.setattr(traffic, "SAMPLED", 100)
    publish(sqlite_db, *[(30, 20)] * 1_000)
    seen = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    with connections[sqlite_db].execute_wrapper(note):
        traffic.look(sqlite_db)

    counts, sample = seen
    assert counts.count(f"LIMIT {COUNTED}") == MINUTES
    assert sample.count(",") <= 101


def test_a_quiet_hour_is_drawn_as_it_was():
    chart = drawn(hour(published=8, confirmed=8))

    assert chart.top == "10 a minute"
    assert {bar.height for bar in chart.bars} == {0.8 * HEIGHT}
    assert chart.bars[-1].text == "12:00: 8 published, 8 confirmed"
    assert chart.bars[0].text == "11:01: 8 published, 8 confirmed"
    assert chart.summary == "480 published and 480 confirmed in the last hour"
    assert chart.line.startswith("0,32 12,32 12,32 ")


def test_nothing_is_a_flat_line():
    chart = drawn(hour())

    assert {bar.height for bar in chart.bars} == {0}
    assert chart.top == "10 a minute"


def test_one_event_among_thousands_can_be_seen():
    assert drawn(hour(published=1_500, confirmed=1)).bars[0].height == 2


def test_a_burst_does_not_flatten_the_rest():
    chart = drawn(hour(published=20, confirmed=20, burst=1_500))

    assert chart.top == "40 a minute"
    assert chart.bars[-1].is_cut
    assert chart.bars[-1].height == HEIGHT
    assert not chart.bars[0].is_cut
    assert chart.bars[-1].text.endswith("1,520 confirmed")


def test_a_backlog_that_goes_out_while_nothing_is_published_sets_the_scale():
    chart = drawn(hour(confirmed=90))

    assert chart.top == "100 a minute"
    assert not chart.bars[0].is_cut


def test_what_was_not_counted_further_says_so():
    chart = drawn(hour(published=90_000, confirmed=COUNTED, step=1_000))

    assert chart.top == "2,000 or more a minute"
    assert chart.bars[0].is_cut
    assert chart.bars[0].text.endswith(
        "about 90,000 published, 2,000 or more confirmed"
    )
    assert chart.summary == (
        "about 5,400,000 published and 120,000 or more confirmed in the last hour"
    )


@pytest.mark.parametrize(
    ("most", "top"), [(10, "10"), (11, "15"), (99, "100"), (101, "150"), (850, "1,000")]
)
def test_the_scale_is_easily_read(most, top):
    assert drawn(hour(published=most)).top == f"{top} a minute"
