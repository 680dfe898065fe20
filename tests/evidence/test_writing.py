"""From the process into the table, and back."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connections

from django_strangler import evidence
from django_strangler.clock import DatabaseNow
from django_strangler.evidence import writing
from django_strangler.evidence.noting import counts
from django_strangler.evidence.retention import prune
from django_strangler.models import EvidenceCount
from tests.waiting import wait_for

from .conftest import queries


def note(n: int, *, failed: int = 0, side: str = "modern", source: str = "route:a"):
    for number in range(n):
        evidence.note(source, side=side, ok=number >= failed)  # type: ignore[arg-type]


def test_what_was_noted_is_seen_before_and_after_it_is_written(
    evidence_db_rolled_back: str,
):
    note(10, failed=2)
    note(5, side="legacy")

    def seen() -> tuple[int, ...]:
        found = evidence.seen("route:a")
        modern, legacy = found["modern"], found["legacy"]
        return modern.checked, modern.failed, legacy.checked, legacy.failed

    assert seen() == (10, 2, 5, 0)
    evidence.flush()
    assert seen() == (10, 2, 5, 0)
    note(1)
    assert seen() == (11, 2, 5, 0)


def test_other_processes_see_it(evidence_db_rolled_back: str):
    note(10, failed=2)
    evidence.note("route:a", seconds=0.25)
    evidence.flush()

    counts.restart()  # Another process.

    modern = evidence.seen("route:a")["modern"]
    assert (modern.checked, modern.failed) == (11, 2)
    assert modern.p50 == pytest.approx(0.25, rel=0.1)
    assert modern.p99 == pytest.approx(0.25, rel=0.1)


def test_nothing_seen_is_all_zero(evidence_db_rolled_back: str):
    assert evidence.seen("route:none") == {
        "legacy": evidence.Seen(),
        "modern": evidence.Seen(),
    }


def test_processes_add_up(evidence_db_rolled_back: str):
    for _ in range(3):
        note(10, failed=1)
        evidence.flush()
        note(10)
        evidence.flush()
        counts.restart()

    now = evidence.seen("route:a")["modern"]
    assert (now.checked, now.failed) == (60, 3)
    in_days = evidence.seen("route:a", since=timedelta(days=30))["modern"]
    assert (in_days.checked, in_days.failed) == (60, 3)


def test_a_long_look_back_counts_what_is_not_written_yet(evidence_db_rolled_back: str):
    note(10)
    evidence.flush()
    note(5)

    assert evidence.seen("route:a", since=timedelta(days=30))["modern"].checked == 15


def test_since_may_be_a_moment(evidence_db_rolled_back: str):
    note(10)
    now = datetime.now(timezone.utc)

    assert (
        evidence.seen("route:a", since=now - timedelta(hours=1))["modern"].checked == 10
    )
    assert (
        evidence.seen("route:a", since=now + timedelta(hours=1))["modern"].checked == 0
    )


def test_look_alikes_are_kept_apart(evidence_db_rolled_back: str):
    note(3, source="legacy:Mail")
    note(5, source="legacy:mail")
    evidence.flush()
    counts.restart()

    for since in (timedelta(minutes=5), timedelta(days=30)):
        assert evidence.seen("legacy:Mail", since=since)["modern"].checked == 3
        assert evidence.seen("legacy:mail", since=since)["modern"].checked == 5


def test_all_of_a_process_is_one_statement(evidence_db_rolled_back: str):
    evidence.flush()  # The guards are read once, as after each change of a flag.
    for number in range(20):
        note(3, source=f"route:{number}")
        note(3, source=f"route:{number}", side="legacy")

    with queries(evidence_db_rolled_back) as seen:
        evidence.flush()

    assert len(seen) == 1
    assert "INSERT" in seen[0]


def test_nothing_new_is_no_statement(evidence_db_rolled_back: str):
    note(3)
    evidence.flush()

    with queries(evidence_db_rolled_back) as seen:
        evidence.flush()

    assert seen == []


def test_noting_runs_no_sql(evidence_db_rolled_back: str):
    with queries(evidence_db_rolled_back) as seen:
        note(100, failed=50)

    assert seen == []


def test_the_thread_writes_by_itself(evidence_db: str, with_thread: None):
    note(10, failed=2)

    rows = EvidenceCount.objects.using(evidence_db).exclude(process="")
    wait_for(lambda: rows.filter(checked=10, failed=2).exists())


def test_a_test_run_has_no_thread(evidence_db: str):
    """What it commits beside a test, the next one would find."""
    note(10)

    assert not any(map(is_evidence, threading.enumerate()))
    evidence.flush()
    assert evidence.seen("route:a")["modern"].checked == 10


def test_there_is_one_thread(evidence_db: str, with_thread: None):
    for _ in range(5):
        note(10)
        evidence.flush()

    found = [t for t in threading.enumerate() if t.name == "strangler-evidence"]
    assert len(found) == 1


def test_a_database_that_is_away_costs_nothing_but_time(
    evidence_db: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    connection = connections[evidence_db]
    table = EvidenceCount._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    note(10)
    assert not writing.write()
    assert not writing.write()
    note(10)
    assert len([r for r in caplog.records if "cannot be written" in r.message]) == 1

    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE away RENAME TO {table}")
    wait_for(writing.write)
    counts.restart()

    assert evidence.seen("route:a")["modern"].checked == 20
    assert "written again" in caplog.text


@pytest.mark.parametrize("alive", [1, 3])
def test_old_counts_are_pruned_and_no_others(evidence_db_rolled_back: str, alive: int):
    alias = evidence_db_rolled_back
    note(10)
    evidence.flush()
    rows = EvidenceCount.objects.using(alias)
    for process, days in (("", 399), ("", 401), ("gone", 1), ("gone", 3), ("gone", 4)):
        rows.create(
            process=process,
            slice=days,
            source="route:a",
            side="modern",
            pair=f"pair {days}",
            at=DatabaseNow(-days * 86400),
            written_at=DatabaseNow(-days * 86400),
            checked=1,
            failed=0,
        )

    assert sum(prune(batch=alive)) == 3

    left = rows.exclude(slice__in=(399, 1))
    assert left.count() == 2
    assert all(row.checked == 10 for row in left)


def test_another_database_is_not_pruned(evidence_db_rolled_back: str):
    assert list(prune("default")) == []


def test_a_thread_that_died_is_begun_anew(
    evidence_db: str, with_thread: None, monkeypatch: pytest.MonkeyPatch
):
    def die() -> bool:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(writing, "write", die)
        note(10)
        wait_for(lambda: not any(map(is_evidence, threading.enumerate())))

    counts.restart()
    note(7)

    rows = EvidenceCount.objects.using(evidence_db).exclude(process="")
    wait_for(lambda: rows.filter(checked=7).exists())


def is_evidence(thread: threading.Thread) -> bool:
    return thread.name == "strangler-evidence"


def test_the_exporter_has_the_same_numbers(evidence_db_rolled_back: str):
    writing.noted.reset()
    note(10, failed=2, source="route:exported")
    note(5, side="legacy", source="route:exported")

    evidence.flush()

    found = writing.noted.values()
    assert {key[1:]: n for key, n in found.items() if key[0] == "route:exported"} == {
        ("modern", "ok"): 8,
        ("modern", "failed"): 2,
        ("legacy", "ok"): 5,
        ("legacy", "failed"): 0,
    }
