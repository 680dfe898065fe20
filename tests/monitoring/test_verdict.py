"""Whether it is well how things stand, and in which words."""

from __future__ import annotations

import re

import pytest

from django_strangler import conf
from django_strangler.models import Lane, RelayProcess
from django_strangler.monitoring.state import look
from django_strangler.monitoring.verdict import Verdict, span, verdict
from tests.monitoring.factories import add, add_relay

SETTINGS = conf.Settings()


def judge(alias: str) -> Verdict:
    return verdict(look(alias), SETTINGS)


def test_an_empty_outbox_with_a_relay_is_well(db):
    add_relay(db)

    state = look(db)

    assert (state.pending, state.oldest_due, state.parked) == (0, None, ())
    assert verdict(state, SETTINGS).ready
    assert verdict(state, SETTINGS).sentence == (
        "Events flow: 0 pending, 1 relay lives."
    )


def test_without_any_relay_ever_it_is_not_ready(db):
    found = judge(db)

    assert not found.ready
    assert found.sentence == (
        "No relay was ever seen. Start one: manage.py drain_outbox"
    )


def test_a_relay_that_died_makes_it_unready_until_somebody_has_its_lanes(db):
    add_relay(db, left=-7, length=10)
    pattern = r"The relay web-1:17 died, (17|18|19|20) s ago\. Start one: .*"
    assert re.fullmatch(pattern, judge(db).sentence)

    # A task drained meanwhile, and is gone.
    Lane.objects.using(db).update(relay=None)
    assert judge(db).ready


def test_a_relay_that_stopped_is_missed_once_an_event_waits(db):
    add_relay(db)
    RelayProcess.objects.using(db).all().delete()
    add(db, published=59)
    assert judge(db).ready

    add(db, published=61)
    assert "No relay lives: run manage.py drain_outbox" in judge(db).sentence


def test_an_old_due_event_makes_it_unready(db):
    add_relay(db)
    add(db, published=7200)

    assert "The oldest due event waits for 2 h." in judge(db).sentence


def test_events_that_are_being_parked_make_it_unready(db):
    add_relay(db)
    add(db, parked=61, parked_reason="unroutable")
    assert judge(db).ready

    add(db, parked=1, parked_reason="rejected")
    assert "payment.completed (rejected)" in judge(db).sentence
    assert "(unroutable)" not in judge(db).sentence


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (800_000, "9 days")],
)
def test_seconds_as_people_say_them(seconds, text):
    assert span(seconds) == text
