"""A flag that stops by itself."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections

from django_strangler import evidence, feature_flags
from django_strangler.evidence import statistics
from django_strangler.evidence.noting import counts
from django_strangler.exceptions import InvalidGuard, UnknownFlag
from django_strangler.feature_flags import alerts, guards
from django_strangler.feature_flags.watch import watch
from django_strangler.models import Flag, FlagChange, Guard, Incident, OutboxEvent
from tests.waiting import wait_for

FLAG = "payments-v2"
ROUTE = "route:payments-api"


def note(good: int, bad: int = 0, *, side: str = "modern", source: str = ROUTE) -> None:
    """Failures evenly among successes: no burst."""
    for number in range(good + bad):
        ok = bad == 0 or number % ((good + bad) // bad) != 0
        evidence.note(source, side=side, ok=ok)  # type: ignore[arg-type]


def burst(number: int = 20) -> None:
    for _ in range(number):
        evidence.note(ROUTE, ok=False)


def flag(alias: str) -> Flag:
    return Flag.objects.using(alias).get(name=FLAG)


@pytest.fixture
def db(evidence_db_rolled_back: str) -> str:
    feature_flags.set_rollout(FLAG, 5)
    feature_flags.set_rollout(FLAG, 25, by="ada")
    return evidence_db_rolled_back


def test_a_burst_switches_the_flag_off(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    burst(19)
    evidence.flush()
    assert flag(db).enabled

    burst(1)
    evidence.flush()

    assert not flag(db).enabled
    assert not feature_flags.is_enabled(FLAG, 1)
    assert flag(db).percentage == 25


def test_what_it_does_is_in_the_history_and_an_event(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off", by="ada")
    burst()
    evidence.flush()

    change = FlagChange.objects.using(db).first()
    assert change is not None
    assert change.by == "guard (off)"
    assert ROUTE in change.why
    assert "in a row" in change.why
    incident = Incident.objects.using(db).get()
    assert (incident.flag, incident.action, incident.source) == (FLAG, "off", ROUTE)
    event = OutboxEvent.objects.using(db).get(type=alerts.TYPE)
    assert event.payload["flag"] == FLAG
    assert event.payload["incident"] == incident.pk
    assert event.payload["percentageBefore"] == "25.00"
    assert event.payload["enabled"] is False


def test_more_failures_than_legacy_trip_it(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    note(950, 50)
    note(5000, 50, side="legacy")

    evidence.flush()

    assert not flag(db).enabled


def test_as_many_failures_as_legacy_do_not(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    note(990, 10)
    note(9900, 100, side="legacy")

    evidence.flush()

    assert flag(db).enabled
    assert not Incident.objects.using(db).exists()


def test_statistics_do_not_act_below_the_least_number(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    note(100, 99)
    note(1000, side="legacy")
    evidence.flush()
    assert flag(db).enabled

    note(50, 50)
    evidence.flush()
    assert not flag(db).enabled


def test_evidence_before_the_last_change_counts_no_more(
    db: str, monkeypatch: pytest.MonkeyPatch
):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    with monkeypatch.context() as earlier:
        earlier.setattr(counts, "_clock", lambda: time.monotonic() - 60)
        note(100, 50)
        note(1000, side="legacy")
        evidence.flush()
        note(500, 100)

    feature_flags.set_rollout(FLAG, 30)
    note(0, 1)
    evidence.flush()

    assert flag(db).enabled


def test_rollback_goes_to_the_percentage_before(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="rollback")
    burst()

    evidence.flush()

    assert flag(db).enabled
    assert flag(db).percentage == 5


def test_rollback_never_raises(db: str):
    feature_flags.set_rollout(FLAG, 10)  # Lowered from 25.
    feature_flags.set_guard(FLAG, on=[ROUTE], action="rollback")
    burst()

    evidence.flush()

    assert flag(db).percentage == 5


def test_rollback_takes_out_whom_the_last_change_named(db: str):
    feature_flags.include(FLAG, "7", "8")
    feature_flags.set_guard(FLAG, on=[ROUTE], action="rollback")
    burst()

    evidence.flush()

    assert flag(db).included == []
    assert flag(db).percentage == 25


def test_rollback_of_a_ramp_goes_to_the_step_before(db: str):
    feature_flags.start_ramp(FLAG, (1, None), (50, timedelta(days=1)))
    ramp = flag(db).ramp
    ramp["steps"] = [
        ["2020-01-01T00:00:00+00:00", "1"],
        ["2020-01-02T00:00:00+00:00", "50"],
    ]
    Flag.objects.using(db).update(ramp=ramp)
    assert flag(db).rollout() == 50
    feature_flags.set_guard(FLAG, on=[ROUTE], action="rollback")
    burst()

    evidence.flush()
    assert flag(db).rollout() == 1

    feature_flags.resume(FLAG)
    assert flag(db).rollout() == 50


def test_hold_stays_at_the_ramps_percentage(db: str):
    feature_flags.start_ramp(FLAG, "30@now", "50@+1d")
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    burst()

    evidence.flush()

    assert flag(db).rollout() == 30
    assert flag(db).ramp["held_at"]


def test_hold_without_a_ramp_still_has_a_line_an_incident_and_an_event(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    burst()

    evidence.flush()

    change = FlagChange.objects.using(db).first()
    assert change is not None
    assert change.by == "guard (hold)"
    assert change.before == change.after
    assert Incident.objects.using(db).count() == 1
    assert OutboxEvent.objects.using(db).filter(type=alerts.TYPE).count() == 1
    assert flag(db).rollout() == 25


def test_it_acts_once_per_incident(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    for _ in range(3):
        burst()
        evidence.flush()

    assert Incident.objects.using(db).count() == 1


def test_after_a_person_resumed_it_acts_again(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    burst()
    evidence.flush()

    feature_flags.resume(FLAG, by="ada", why="mended")

    assert flag(db).enabled
    incident = Incident.objects.using(db).get()
    assert (incident.by, incident.why) == ("ada", "mended")
    assert incident.resumed_at is not None
    evidence.flush()
    assert flag(db).enabled  # Not by what was seen before.
    burst()
    evidence.flush()
    assert not flag(db).enabled
    assert Incident.objects.using(db).count() == 2


def test_a_persons_change_ends_an_incident_too(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    burst()
    evidence.flush()

    feature_flags.enable(FLAG, by="ada")
    burst()
    evidence.flush()

    assert not flag(db).enabled
    assert Incident.objects.using(db).count() == 2


def test_of_two_guards_the_stronger_acts(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    burst()

    evidence.flush()

    assert [each.action for each in Incident.objects.using(db).all()] == ["off"]


def test_a_second_guard_may_act_after_the_first(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold", by="ada")
    burst()
    evidence.flush()
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off", by="ada")

    burst()
    evidence.flush()

    assert not flag(db).enabled
    assert Incident.objects.using(db).count() == 2


def test_a_flag_that_is_deleted_meanwhile_is_left_alone(db: str):
    guard = feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    change = FlagChange.objects.using(db).first()
    doubt = statistics.Doubt(
        ground=statistics.Ground.BURST, source=ROUTE, text="20 in a row."
    )
    flag(db).delete()

    assert guards.trip(guard, doubt, change=change and change.pk) is None
    assert not Incident.objects.using(db).exists()


def test_evidence_of_an_earlier_state_does_not_act(db: str):
    guard = feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    change = FlagChange.objects.using(db).first()
    doubt = statistics.Doubt(
        ground=statistics.Ground.BURST, source=ROUTE, text="20 in a row."
    )
    feature_flags.set_rollout(FLAG, 1)

    assert guards.trip(guard, doubt, change=change and change.pk) is None
    assert flag(db).enabled


def test_an_alert_that_cannot_be_published_undoes_the_rest(
    db: str, monkeypatch: pytest.MonkeyPatch
):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")

    def fail(payload: object) -> None:
        raise RuntimeError("no outbox")

    monkeypatch.setattr(alerts, "publish", fail)
    burst()
    with pytest.raises(RuntimeError):
        evidence.flush()

    assert flag(db).enabled
    assert not Incident.objects.using(db).exists()


def test_a_removed_guard_acts_no_more(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")

    assert feature_flags.remove_guard(FLAG) == 1
    burst()
    evidence.flush()

    assert flag(db).enabled


def test_rolling_back_passes_over_lines_about_guards(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")

    feature_flags.rollback(FLAG)

    assert flag(db).percentage == 5


def test_a_route_is_not_judged_by_its_durations_unless_asked(db: str):
    route = feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    other = feature_flags.set_guard(FLAG, on=["subscriber:a"], action="hold")
    asked = feature_flags.set_guard(FLAG, on=[ROUTE], action="off", slower=1.5)

    assert guards.rule_of(route).slower is None
    assert guards.rule_of(other).slower == 1.2
    assert guards.rule_of(asked).slower == 1.5
    assert Guard.objects.using(db).count() == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"limit": 0}, "both excluded"),
        ({"limit": 100}, "both excluded"),
        ({"least": 0}, "1 or more"),
        ({"least": None}, "1 or more"),
        ({"least": 1.5}, "whole number"),
        ({"margin": -1}, "points of percent"),
        ({"margin": float("nan")}, "points of percent"),
        ({"slower": 0.5}, "times the legacy side"),
        ({"window": 1}, "ten seconds"),
        ({"action": "raise"}, "hold"),
        ({"on": []}, "no source"),
        ({"on": ["a\nb"]}, "route:payments-api"),
    ],
)
def test_a_guard_that_cannot_be_is_an_error_that_says_so(db: str, wrong, said):
    given = {"on": [ROUTE], "action": "off", **wrong}

    with pytest.raises(InvalidGuard, match=said):
        feature_flags.set_guard(FLAG, **given)

    assert not Guard.objects.using(db).exists()


def test_a_guard_of_no_flag_is_an_error(db: str):
    with pytest.raises(UnknownFlag, match="set_rollout"):
        feature_flags.set_guard("unknown", on=[ROUTE], action="off")


def test_a_row_that_was_broken_by_hand_takes_no_other_guard_with_it(
    db: str, caplog: pytest.LogCaptureFixture
):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    Guard.objects.using(db).update(rule={"least": "many"})
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    burst()

    evidence.flush()

    assert not flag(db).enabled
    assert "least" in caplog.text


# Gated ramps.


def test_a_gated_step_waits_for_its_evidence(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    feature_flags.start_ramp(FLAG, "30@now", gated=True)
    assert flag(db).rollout() == 25
    assert feature_flags.evaluate(FLAG, 1).enabled == (
        feature_flags.evaluate(FLAG, 1).bucket < 0.25 * 2**32
    )

    note(150)
    evidence.flush()
    assert flag(db).rollout() == 25

    note(50)
    watch.forget()  # It looks at steps every few seconds.
    evidence.flush()
    assert flag(db).rollout() == 30
    change = FlagChange.objects.using(db).first()
    assert change is not None
    assert change.by == "gated ramp"


def test_a_gated_step_waits_for_its_time(db: str):
    feature_flags.set_guard(FLAG, on=[ROUTE], action="hold")
    feature_flags.start_ramp(FLAG, "30@+1h", gated=True)
    note(500)

    evidence.flush()

    assert flag(db).rollout() == 25


def test_without_a_guard_a_gated_step_stays(db: str):
    feature_flags.start_ramp(FLAG, "30@now", gated=True)
    note(500)

    evidence.flush()

    assert flag(db).rollout() == 25


def test_the_first_step_from_nothing_needs_no_evidence(db: str):
    feature_flags.start_ramp("new-one", "1@now", "5@+1d", gated=True)

    assert Flag.objects.using(db).get(name="new-one").rollout() == 1


def test_a_person_may_release_a_step(db: str):
    feature_flags.start_ramp(FLAG, "30@now", "50@+1d", gated=True)

    feature_flags.release(FLAG, by="ada")

    assert flag(db).rollout() == Decimal(30)


def test_two_processes_that_see_it_at_once_make_one_incident(evidence_db: str):
    feature_flags.set_rollout(FLAG, 25)
    guard = feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    change = FlagChange.objects.using(evidence_db).first()
    doubt = statistics.Doubt(
        ground=statistics.Ground.BURST, source=ROUTE, text="20 in a row."
    )
    barrier = threading.Barrier(2)
    errors: list[Exception] = []

    def act() -> None:
        barrier.wait(60)
        try:
            guards.trip(guard, doubt, change=change and change.pk)
        except Exception as error:  # noqa: BLE001  SQLite has one writer.
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=act) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert Incident.objects.using(evidence_db).count() == 1
    assert OutboxEvent.objects.using(evidence_db).filter(type=alerts.TYPE).count() == 1
    assert not flag(evidence_db).enabled
    if connections[evidence_db].vendor != "sqlite":
        assert errors == []


def test_the_thread_lets_guards_act_by_itself(evidence_db: str, with_thread: None):
    feature_flags.set_rollout(FLAG, 25)
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")

    burst()

    wait_for(lambda: not flag(evidence_db).enabled)
    counts.restart()


def test_a_source_that_nobody_noted_is_said_when_it_is_guarded(db: str):
    evidence.note(ROUTE)
    out = StringIO()

    for source in (ROUTE, "route:mistyped"):
        call_command("flag", "guard", FLAG, "--on", source, "--action=off", stdout=out)

    assert "Nothing was seen of route:mistyped so far." in out.getvalue()
    assert ROUTE + " so far" not in out.getvalue()
