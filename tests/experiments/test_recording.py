"""What candidates have shown ends up in few rows."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_strangler import evidence
from django_strangler.experiments import experiment, trials
from django_strangler.experiments.models import ExperimentTotal, Mismatch
from django_strangler.experiments.recording import GROUPS, SAMPLES, recorder
from django_strangler.experiments.retention import prune

pytestmark = pytest.mark.django_db


def shown() -> dict[tuple[str, str], int]:
    """By candidate and place, how often."""
    return {(row.candidate, row.path): row.count for row in Mismatch.objects.all()}


def test_mismatches_are_grouped_by_place():
    @experiment("total", candidate=lambda n: {"a": n, "b": [{"qty": n + 1}]})
    def total(n):
        return {"a": n, "b": [{"qty": n}]}

    for n in range(20):
        total(n)
    recorder.write()

    assert shown() == {("candidate", "/b/*/qty"): 20}
    row = ExperimentTotal.objects.get()
    assert (row.runs, row.mismatches) == (20, 20)
    assert len(Mismatch.objects.get().samples) == SAMPLES


def test_counts_add_up_over_writings():
    @experiment("total", candidate=lambda: 2)
    def total():
        return 1

    for _ in range(3):
        total()
        recorder.write()

    assert shown() == {("candidate", "/"): 3}


def test_ever_new_places_are_one_in_the_end():
    @experiment("total", candidate=lambda n: {f"key{n}": 1})
    def total(n):
        return {}

    for n in range(3 * GROUPS):
        total(n)
        if n % 50 == 49:
            recorder.write()

    assert Mismatch.objects.count() <= GROUPS + 1
    assert sum(shown().values()) == 3 * GROUPS
    assert ("candidate", "(other places)") in shown()


def test_samples_hide_what_the_settings_name_and_are_short():
    @experiment(
        "user",
        candidate=lambda: {"password_hash": "new", "name": "y" * 10_000},
        context=lambda: {"token": "t0ken", "id": 7},
    )
    def user():
        return {"password_hash": "old", "name": "x" * 10_000}

    user()
    recorder.write()

    samples = [row.samples[0] for row in Mismatch.objects.all()]
    text = str(samples)
    assert "old" not in text
    assert "t0ken" not in text
    assert '"id": 7' in text
    assert max(len(each["control"]) for each in samples) <= 600


def test_a_mismatch_has_the_releases_in_which_it_was_seen(settings):
    @experiment("total", candidate=lambda: 2)
    def total():
        return 1

    for release in ("r1", "r2", "r3"):
        mine = {**settings.STRANGLER, "EXPERIMENTS": {"RELEASE": release}}
        settings.STRANGLER = mine
        total()
        recorder.write()

    row = Mismatch.objects.get()
    assert (row.first_release, row.last_release) == ("r1", "r3")
    assert row.first_at < row.last_at


def test_a_mismatch_is_a_failure_of_the_modern_side():
    @experiment("failing", candidate=lambda n: n % 2)
    def total(n):
        return 0

    for n in range(10):
        total(n)
    evidence.flush()

    seen = evidence.seen("experiment:failing", since=timedelta(minutes=5))
    assert (seen["modern"].checked, seen["modern"].failed) == (10, 5)
    assert seen["legacy"].checked == 0


def test_what_is_known_is_no_failure_until_its_day():
    @experiment("expected", candidate=lambda: 2)
    def total():
        return 1

    total()
    recorder.write()
    call_command(
        "strangler_experiments", "known", str(Mismatch.objects.get().pk), why="x"
    )
    recorder.look()
    total()
    evidence.flush()

    seen = evidence.seen("experiment:expected", since=timedelta(minutes=5))["modern"]
    assert (seen.checked, seen.failed) == (2, 1)

    Mismatch.objects.update(known_until=timezone.now() - timedelta(days=1))
    recorder.look()
    total()
    evidence.flush()

    assert (
        evidence.seen("experiment:expected", since=timedelta(minutes=5))[
            "modern"
        ].failed
        == 2
    )


def test_noise_is_told_from_planted_differences(monkeypatch):
    chance = random.Random(7)
    monkeypatch.setattr(trials, "random", chance)

    def answer(n, *, planted):
        return {
            "total": n + (planted and n % 200 == 0),
            "rank": chance.random() < 0.03,  # Differs from itself.
        }

    @experiment("total", candidate=lambda n: answer(n, planted=True), calibrate=0.5)
    def total(n):
        return answer(n, planted=False)

    for n in range(4000):
        total(n)
    recorder.write()

    excused = {
        path for _, candidate, path in recorder.excused if candidate != "control"
    }
    assert excused == {"/rank"}
    assert shown()["candidate", "/total"] == 20


def test_a_database_that_is_away_costs_counts_only(monkeypatch, caplog):
    from django.db import OperationalError

    @experiment("total", candidate=lambda: 2)
    def total():
        return 1

    total()
    monkeypatch.setattr(
        recorder, "write", lambda: (_ for _ in ()).throw(OperationalError("away"))
    )
    recorder.written()

    assert "was not written: away" in caplog.text


def test_what_was_not_seen_for_long_is_pruned():
    @experiment("total", candidate=lambda: 2)
    def total():
        return 1

    total()
    recorder.write()
    assert list(prune()) == [0]

    Mismatch.objects.update(last_at=timezone.now() - timedelta(days=40))

    assert list(prune()) == [1]


def test_the_command_lists_and_shows_without_control_characters(capsys):
    @experiment("total", candidate=lambda: "\x1b[31mred")
    def total():
        return "plain"

    total()
    recorder.write()
    call_command("strangler_experiments")
    call_command("strangler_experiments", "show", str(Mismatch.objects.get().pk))
    call_command("strangler_experiments", "list", "total", "--json")

    out = capsys.readouterr().out
    assert "total: candidate: differed in 1 of 1 run" in out
    assert "value at /, once" in out
    assert "\x1b" not in out
