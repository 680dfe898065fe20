"""
What Ruby's scientist promises in its tests, asked of our experiments.

The table in docs/reference/experiments.md has a line for each of them, and names what
differs on purpose.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter
from dataclasses import FrozenInstanceError, fields

import pytest

from django_strangler import evidence
from django_strangler.experiments import (
    InvalidExperiment,
    MismatchFound,
    branch,
    experiment,
    experiments_raise,
)
from django_strangler.experiments import trials as experiments_trials
from django_strangler.experiments.models import ExperimentTotal, Mismatch
from django_strangler.experiments.recording import recorder
from django_strangler.experiments.running import CandidateOutcome, Finding, Seen
from django_strangler.testing import override_flag
from tests.docs.fences import ROOT

pytestmark = pytest.mark.django_db


class Boom(Exception):
    pass


def boom(*args):
    raise Boom("boom")


def judged(control, candidate, *, name="asked", **options):
    """What became of the candidate, and what the caller got."""
    before = Counter(trials())
    try:
        answer = experiment(name, **options).run(control, new=candidate)
    except Boom as error:
        answer = error
    [found] = Counter(trials()) - before
    return found, answer


def trials():
    from django_strangler.experiments import counts

    return {each[2]: number for each, number in counts.candidates.values().items()}


# Running


def test_with_a_control_alone_nothing_is_compared():
    assert experiment("alone").run(lambda: "control") == "control"
    recorder.write()

    assert not ExperimentTotal.objects.exists()


def test_the_control_is_what_is_returned():
    assert judged(lambda: "control", lambda: "candidate") == ("mismatch", "control")


def test_a_decorated_control_needs_a_candidate():
    with pytest.raises(InvalidExperiment, match="no candidate"):
        experiment("alone")(lambda: 1)


def test_names_are_told_apart():
    with pytest.raises(InvalidExperiment, match="what the control is called"):
        experiment("asked", candidates={"control": boom})


def test_what_a_candidate_raises_is_swallowed():
    assert judged(lambda: "control", boom) == ("mismatch", "control")


def test_what_the_control_raises_is_raised_and_candidates_ran():
    ran = []

    outcome, error = judged(boom, lambda: ran.append(1))

    assert (outcome, type(error), ran) == ("mismatch", Boom, [1])


def test_the_order_is_shuffled():
    ran = []
    for _ in range(60):
        judged(lambda: ran.append("control"), lambda: ran.append("candidate"))

    pairs = set(zip(ran[::2], ran[1::2], strict=True))
    assert pairs == {("control", "candidate"), ("candidate", "control")}


def test_a_flag_decides_whether_it_runs():
    ran = []
    asked = experiment("asked", flag="shadow", subject=lambda user: user)

    for on in (False, True):
        with override_flag("shadow", on):
            asked.run(lambda: 1, subject=7, new=lambda: ran.append(1))

    assert ran == [1]


def test_a_condition_that_fails_leaves_the_experiment_out(caplog):
    @experiment("asked", candidate=boom, flag="shadow", subject=boom)
    def control(n):
        return n

    with override_flag("shadow", True):
        assert control(1) == 1
    assert "its subject= failed. Boom: boom" in caplog.text


# Telling


def test_results_are_kept():
    judged(lambda: 1, lambda: 1, name="kept")
    judged(lambda: 1, lambda: 2, name="kept")
    recorder.write()

    row = ExperimentTotal.objects.get()
    assert (row.experiment, row.candidate) == ("kept", "new")
    assert (row.runs, row.mismatches) == (2, 1)
    assert evidence.seen("experiment:kept")["modern"].failed == 1


def test_a_result_that_cannot_be_kept_is_logged_and_not_raised(monkeypatch, caplog):
    monkeypatch.setattr(recorder, "record", boom)

    assert experiment("lost").run(lambda: 1, new=lambda: 1) == 1
    assert "its bookkeeping failed. Boom: boom" in caplog.text


def test_what_the_context_says_stands_beside_a_sample():
    @experiment("asked", candidate=lambda n: 2, context=lambda n: {"payment": n})
    def control(n):
        return 1

    control(7)
    recorder.write()

    [sample] = Mismatch.objects.get().samples
    assert "payment" in sample["context"]
    assert "7" in sample["context"]


def test_a_result_cannot_be_changed():
    for value in (
        Finding("new", CandidateOutcome.MATCH, 0.1),
        Seen(0.1, value=1),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, fields(value)[0].name, 1)


# Comparing


@pytest.mark.parametrize(("new", "outcome"), [(1, "match"), (2, "mismatch")])
def test_values_are_compared(new, outcome):
    assert judged(lambda: 1, lambda: new)[0] == outcome


def test_compare_decides():
    found = judged(lambda: "1", lambda: 1, compare=lambda a, b: a == str(b))

    assert found[0] == "match"


def test_a_compare_that_fails_is_logged_and_not_raised(caplog):
    outcome, answer = judged(lambda: 1, lambda: 1, compare=boom)

    assert (outcome, answer) == ("broken", 1)
    assert "Boom: boom" in caplog.text


@pytest.mark.parametrize(
    ("error", "same", "outcome"),
    [
        (Boom("boom"), "class", "match"),
        (Boom("other"), "class", "match"),
        (Boom("other"), "message", "mismatch"),
        (Boom("boom"), "message", "match"),
        (ValueError("boom"), "message", "mismatch"),
    ],
)
def test_errors_are_compared_by_class_or_message(error, same, outcome):
    def candidate():
        raise error

    assert judged(boom, candidate, same_errors=same)[0] == outcome


@pytest.mark.parametrize("value", [None, False, "TEST"])
def test_clean_is_given_every_value(value):
    cleaned = []

    outcome, answer = judged(
        lambda: value, lambda: value, clean=lambda found: cleaned.append(found)
    )

    assert (outcome, answer, cleaned) == ("match", value, [value, value])


def test_a_clean_that_fails_is_a_mismatch_that_says_so():
    outcome, answer = judged(lambda: "control", lambda: "control", clean=boom)
    recorder.write()

    assert (outcome, answer) == ("mismatch", "control")
    assert "boom" in str(Mismatch.objects.get().samples)


def test_nothing_is_ignored_unless_it_is_said():
    assert judged(lambda: {"id": 1}, lambda: {"id": 2})[0] == "mismatch"


def test_any_of_several_ignored_places_is_enough():
    options = {"ignore": ["/nothing", "/id", "/lines/*/id"]}

    both = judged(
        lambda: {"id": 1, "lines": [{"id": 1}]},
        lambda: {"id": 2, "lines": [{"id": 2}]},
        **options,
    )
    other = judged(lambda: {"id": 1, "n": 1}, lambda: {"id": 2, "n": 2}, **options)

    assert (both[0], other[0]) == ("match", "mismatch")


# In tests


def test_in_a_test_a_mismatch_raises_and_elsewhere_it_does_not():
    assert judged(lambda: 1, lambda: 2) == ("mismatch", 1)

    with pytest.raises(MismatchFound), experiments_raise():
        experiment("asked").run(lambda: 1, new=lambda: 2)


@pytest.mark.parametrize(("one", "two"), [(boom, int), (int, boom)])
def test_in_a_test_it_raises_when_one_side_does(one, two):
    with pytest.raises(MismatchFound, match="Boom: boom"), experiments_raise():
        experiment("asked").run(one, new=two)


def test_in_a_test_what_is_shown_is_cleaned():
    asked = experiment("asked", clean=str.upper)

    with pytest.raises(MismatchFound, match=r"'OLD' \| 'NEW'"), experiments_raise():
        asked.run(lambda: "old", new=lambda: "new")


def test_a_mismatch_that_was_caught_is_raised_at_the_end():
    def view():
        try:
            return experiment("asked").run(lambda: 1, new=lambda: 2)
        except Exception:  # noqa: BLE001  As the code under test may do.
            return "an excuse"

    with pytest.raises(MismatchFound), experiments_raise():
        assert view() == "an excuse"


def test_what_was_found_names_experiment_candidate_and_values():
    with pytest.raises(MismatchFound) as found, experiments_raise():
        experiment("asked").run(lambda: {"qty": 1}, new=lambda: {"qty": 2})

    assert str(found.value) == (
        "The experiment 'asked' differs.\nnew: value at /qty: 1 | 2"
    )


def test_what_was_found_travels_to_another_process():
    error = pickle.loads(pickle.dumps(MismatchFound("It differs.")))

    assert (type(error), str(error)) == (MismatchFound, "It differs.")


@pytest.mark.parametrize("broken", ["clean", "compare", "context"])
def test_in_a_test_what_is_broken_raises_as_well(broken):
    @experiment("asked", candidate=lambda: 1, **{broken: boom})
    def control():
        return 1

    with pytest.raises(MismatchFound, match="boom"), experiments_raise():
        control()


# Choosing


def test_another_side_than_the_control_answers_by_the_flag_of_a_branch():
    class Old:
        def answer(self):
            return "old"

    class New:
        def answer(self):
            return "new"

    either = branch("v2", legacy=Old, modern=New)

    with override_flag("v2", True):
        assert either.answer() == "new"
    with override_flag("v2", False):
        assert either.answer() == "old"


def test_each_promise_has_a_line_in_the_table():
    page = (ROOT / "docs/reference/experiments.md").read_text()
    table = page.partition("## Beside scientist")[2].partition("\n## ")[0]

    named = set(re.findall(r"`(test_\w+)`", table))

    assert named == {
        name for name in globals() if name.startswith("test_") and "table" not in name
    }
    assert experiments_trials.raising.get() is None
