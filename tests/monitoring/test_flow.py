"""Whether it is well how things stand, and in which words."""

from __future__ import annotations

import re

import pytest

from django_strangler import conf
from django_strangler.models import Lane, OutboxEvent, Pause, RelayProcess
from django_strangler.monitoring.flow import Flow, Mood, flow, span
from django_strangler.monitoring.state import look
from django_strangler.outbox import replay
from django_strangler.outbox.pauses import pause, resume
from tests.monitoring.factories import add, add_consumer, add_held, add_relay

SETTINGS = conf.Settings()


def judge(alias: str) -> Flow:
    return flow(look(alias), SETTINGS)


def test_an_empty_outbox_with_a_relay_is_well(db):
    add_relay(db)

    state = look(db)

    assert (state.pending, state.oldest_due, state.parked) == (0, None, ())
    assert flow(state, SETTINGS).ready
    assert flow(state, SETTINGS).sentence == (
        "Events flow: 0 pending, 1 relay is running."
    )


def test_without_any_relay_ever_it_is_not_ready(db):
    found = judge(db)

    assert not found.ready
    assert found.sentence == (
        "No relay was ever seen. Start one: manage.py drain_outbox"
    )


def test_a_relay_that_died_makes_it_unready_until_somebody_has_its_lanes(db):
    add_relay(db, left=-7, length=10)
    pattern = r"The relay web-1:17 died, (1[7-9]|[2-4]\d) s ago\. Start one: .*"
    assert re.fullmatch(pattern, judge(db).sentence)

    # A task drained meanwhile, and is gone.
    Lane.objects.using(db).update(relay=None)
    assert judge(db).ready


def test_a_relay_that_stopped_is_missed_once_an_event_waits(db):
    add_relay(db)
    RelayProcess.objects.using(db).all().delete()
    assert judge(db).mood is Mood.FINE  # A task may drain, now and then.
    assert judge(db).sentence == "No event waits, and no relay runs now: 0 pending."
    add(db, published=30)
    assert judge(db).ready
    assert judge(db).mood is Mood.CONCERN
    assert judge(db).sentence.startswith("Events wait: 1 pending, the oldest due for")
    assert [str(each) for each in judge(db).concerns] == [
        "No relay runs, and 1 event waits. Start one: manage.py drain_outbox"
    ]

    add(db, published=61)
    assert "No relay runs: start one with manage.py drain_outbox" in judge(db).sentence


def test_an_old_due_event_makes_it_unready(db):
    add_relay(db)
    add(db, published=7300)

    assert "The oldest due event has waited for 2 h." in judge(db).sentence


def test_events_that_are_being_parked_make_it_unready(db):
    add_relay(db)
    add(db, parked=61, parked_reason="unroutable")
    assert judge(db).ready
    assert judge(db).mood is Mood.CONCERN
    assert [str(each) for each in judge(db).concerns] == [
        "1 event is parked: payment.completed (unroutable). Mend the cause, then run: "
        "manage.py replay_events --type payment.completed --reason unroutable"
    ]

    add(db, parked=1, parked_reason="rejected")
    assert judge(db).mood is Mood.TROUBLE
    assert "payment.completed (rejected)" in judge(db).sentence
    assert "--type payment.completed --reason rejected" in judge(db).sentence
    assert "(unroutable)" not in judge(db).sentence


def test_dead_letters_are_a_concern_until_there_are_none(db):
    add_relay(db)

    found = flow(look(db), SETTINGS, {"bank": 2, "mail": 1, "other": 0})

    assert found.ready
    assert found.mood is Mood.CONCERN
    assert [str(each) for each in found.concerns] == [
        "2 dead letters are in the queue 'bank'. See why: manage.py dead_letters "
        "--queue bank",
        "1 dead letter is in the queue 'mail'. See why: manage.py dead_letters "
        "--queue mail",
    ]
    assert flow(look(db), SETTINGS, {"bank": 0}).mood is Mood.FINE


def test_a_held_type_is_a_concern_that_says_since_when_why_and_what_to_do(db):
    add_relay(db)
    row = add_held(db)

    found = judge(db)

    assert found.ready
    assert found.mood is Mood.CONCERN
    (concern,) = map(str, found.concerns)
    assert re.fullmatch(
        r"The type 'payment\.completed' is held for 5 min: A queue is full\. Make room "
        r"in its queue, or bring its nodes back; it opens by itself, and is tried "
        r"again in (3\d|40) s",
        concern,
    )
    row.delete()
    assert judge(db).mood is Mood.FINE


def test_many_held_types_do_not_fill_the_page(db):
    add_relay(db)
    for number in range(23):
        add_held(db, f"type.n{number}")

    concerns = judge(db).concerns

    assert len(concerns) == 21
    assert concerns[-1].what == "3 more types are held"


@pytest.mark.parametrize(
    ("scope", "name", "sentence"),
    [
        (
            Pause.Scope.TYPE,
            "payment.completed",
            "The type 'payment.completed' is paused for 0 s by ada: refunds. To go on: "
            "manage.py drain_outbox --resume payment.completed",
        ),
        (
            Pause.Scope.KEY,
            "payment 7; ls",
            "The key 'payment 7; ls' is paused for 0 s by ada: refunds. To go on: "
            "manage.py drain_outbox --resume-key 'payment 7; ls'",
        ),
        (
            Pause.Scope.ALL,
            "",
            "Everything is paused for 0 s by ada: refunds. To go on: "
            "manage.py drain_outbox --resume-all",
        ),
    ],
)
def test_a_pause_is_a_concern_until_it_ends(sqlite_db, routed, scope, name, sentence):
    alias = routed(sqlite_db)
    add_relay(alias)
    pause(scope, name, by="ada", why="refunds.", using=alias)

    found = judge(alias)

    assert found.mood is Mood.CONCERN
    said = re.sub(r"for \d+ s", "for 0 s", str(found.concerns[0]))
    assert said == sentence
    resume(scope, name, using=alias)
    assert judge(alias).mood is Mood.FINE


def test_what_waits_because_it_is_paused_is_not_blamed_on_the_relay(sqlite_db, routed):
    alias = routed(sqlite_db)
    add_relay(alias)
    add(alias, published=7300)
    pause(Pause.Scope.ALL, using=alias)

    assert "See first what is held or paused" in judge(alias).sentence


def test_parked_as_unroutable_and_now_wanted_says_that_a_replay_would_succeed(db):
    add_relay(db)
    add(db, parked=400, parked_reason="unroutable")
    add(db, parked=300, parked_reason="unroutable", type="user.created")
    add(db, parked=300, parked_reason="rejected")

    add_consumer(db, started=600)  # It was there, and has evidently no such binding.
    assert not [each for each in judge(db).concerns if "would now" in each.todo]
    add_consumer(db, started=200, left=-1)  # It is gone.
    assert not [each for each in judge(db).concerns if "would now" in each.todo]

    add_consumer(db, started=180)
    (again,) = [each for each in judge(db).concerns if "would now" in each.todo]
    assert str(again) == (
        "1 event is parked as unroutable of type 'payment.completed', which the queue "
        "'receipts' has wanted for 3 min. A replay would now succeed: manage.py "
        "replay_events --type payment.completed --reason unroutable"
    )


def test_a_replayed_event_counts_from_its_replay(db):
    add_relay(db)
    add(db, published=7200, parked=3600, parked_reason="unroutable")
    rows = list(OutboxEvent.objects.using(db).values_list("id", flat=True))

    assert sum(replay.replay(rows, using=db)) == 1

    assert judge(db).mood is Mood.FINE


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (800_000, "9 days")],
)
def test_seconds_as_people_say_them(seconds, text):
    assert span(seconds) == text
