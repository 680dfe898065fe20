"""The caller gets the control's answer, whatever the candidates do."""

from __future__ import annotations

import itertools
import sys
import time
from decimal import Decimal

import pytest
from django.db import connections, transaction
from payments.models import Payment
from reporting.models import Activity

from django_strangler.experiments import (
    InvalidExperiment,
    MismatchFound,
    experiment,
    experiments_raise,
)
from django_strangler.experiments.background import background
from django_strangler.experiments.resting import Resting
from django_strangler.testing import override_flag

pytestmark = pytest.mark.django_db


def only(name, outcome, candidate="candidate"):
    return {(name, candidate, outcome): 1}


def raises(error):
    def candidate(*args, **kwargs):
        raise error

    return candidate


def test_the_control_answers_and_both_are_compared(outcomes):
    @experiment("total", candidate=lambda n: n + n)
    def total(n):
        return n * 2

    assert total(3) == 6
    assert outcomes() == only("total", "match")


def test_a_difference_is_counted_and_not_shown(outcomes):
    @experiment("total", candidate=lambda n: n + 1)
    def total(n):
        return n * 2

    assert total(3) == 6
    assert outcomes() == only("total", "mismatch")


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        SystemExit(3),
        GeneratorExit(),
        RecursionError(),
        MemoryError(),
        BaseException(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_candidate_raises_does_not_get_out(error, outcomes):
    @experiment("total", candidate=raises(error))
    def total():
        return 1

    assert [total() for _ in range(10)] == [1] * 10
    assert outcomes() == {("total", "candidate", "mismatch"): 10}


def test_only_the_keyboard_interrupts():
    @experiment("total", candidate=raises(KeyboardInterrupt()))
    def total():
        return 1

    with pytest.raises(KeyboardInterrupt):
        total()


def test_the_control_s_exception_is_the_caller_s(outcomes):
    @experiment("total", candidate=lambda: 1)
    def total():
        raise Odd("as ever")

    with pytest.raises(Odd, match="as ever"):
        total()

    assert outcomes() == only("total", "mismatch")


@pytest.mark.parametrize(
    ("same_errors", "outcome"), [("class", "match"), ("message", "mismatch")]
)
def test_errors_are_the_same_by_class_or_by_message(same_errors, outcome, outcomes):
    @experiment("total", candidate=raises(Odd("new")), same_errors=same_errors)
    def total():
        raise Odd("old")

    with pytest.raises(Odd, match="old"):
        total()

    assert outcomes() == only("total", outcome)


def test_the_control_runs_once_and_the_order_changes():
    ran = []

    @experiment("order", candidate=lambda: ran.append("candidate"))
    def control():
        ran.append("control")

    pairs = set()
    for _ in range(100):
        ran.clear()
        control()
        pairs.add(tuple(ran))

    assert pairs == {("control", "candidate"), ("candidate", "control")}


def test_several_candidates_run_each(outcomes):
    @experiment("total", candidates={"double": lambda n: n + n, "wrong": lambda n: n})
    def total(n):
        return n * 2

    assert total(3) == 6
    assert outcomes() == {
        ("total", "double", "match"): 1,
        ("total", "wrong", "mismatch"): 1,
    }


def test_a_flag_decides_for_whom_it_runs(outcomes):
    @experiment("total", candidate=lambda user: 1, flag="shadow", subject=lambda u: u)
    def total(user):
        return 1

    with override_flag("shadow", False):
        total(1)
    assert outcomes() == {}

    with override_flag("shadow", True):
        total(1)
    assert outcomes() == only("total", "match")


def test_a_rate_decides_how_often(outcomes):
    @experiment("never", candidate=lambda: 1, rate=0.0)
    def never():
        return 1

    @experiment("sometimes", candidate=lambda: 1, rate=0.5)
    def sometimes():
        return 1

    for _ in range(200):
        never()
        sometimes()

    assert 40 < outcomes()["sometimes", "candidate", "match"] < 160
    assert ("never", "candidate", "match") not in outcomes()


def test_an_object_runs_functions_without_arguments(outcomes):
    total = experiment("total")

    assert total.run(lambda: 6, new=lambda: 6) == 6
    assert outcomes() == {("total", "new", "match"): 1}


def test_a_candidate_may_be_a_dotted_path(outcomes):
    @experiment("root", candidate="math.isqrt")
    def root(n):
        return 3

    assert root(9) == 3
    assert outcomes() == only("root", "match")


def test_a_path_that_leads_nowhere_is_the_candidate_s_error(outcomes):
    @experiment("root", candidate="no.such.thing")
    def root(n):
        return 3

    assert root(9) == 3
    assert outcomes() == only("root", "mismatch")


def test_a_candidate_that_calls_the_control_s_name_ends(outcomes):
    @experiment("total", candidate=lambda n: total(n))
    def total(n):
        return n

    assert total(3) == 3
    assert outcomes() == only("total", "match")


def test_a_candidate_that_recurses_without_end_costs_nothing(outcomes):
    def candidate(n):
        return candidate(n + 1)

    @experiment("total", candidate=candidate)
    def total(n):
        return n

    assert total(3) == 3
    assert outcomes() == only("total", "mismatch")


def test_a_huge_answer_of_a_candidate_is_not_kept(outcomes):
    @experiment("total", candidate=lambda: "x" * 50_000_000)
    def total():
        return "x"

    assert total() == "x"
    assert outcomes() == only("total", "mismatch")


@pytest.mark.parametrize("broken", ["subject", "clean", "compare", "context"])
def test_bookkeeping_that_fails_is_counted_and_not_raised(broken, outcomes):
    options = {broken: raises(ZeroDivisionError())}
    flag = {"flag": "shadow"} if broken == "subject" else {}

    with override_flag("shadow", True):

        @experiment("total", candidate=lambda: 1, **flag, **options)
        def total():
            return 1

        assert total() == 1
    assert sum(outcomes().values()) >= 1


def test_what_is_ignored_and_cleaned_does_not_differ(outcomes):
    ids = itertools.count()

    def answer(total):
        return {"id": next(ids), "total": total, "at": time.time()}

    @experiment(
        "total",
        candidate=lambda: answer("1.0 "),
        ignore=["/id", "/at"],
        clean=lambda found: found | {"total": found["total"].strip()},
    )
    def total():
        return answer("1.0")

    total()

    assert outcomes() == only("total", "match")


def test_compare_replaces_the_comparison(outcomes):
    @experiment("total", candidate=lambda: 7, compare=lambda a, b: abs(a - b) < 2)
    def total():
        return 6

    assert total() == 6
    assert outcomes() == only("total", "match")


def test_the_control_against_itself_shows_the_noise(outcomes):
    @experiment("total", candidate=lambda: 1, calibrate=1.0)
    def total():
        return 1

    total()

    assert outcomes() == {
        ("total", "candidate", "match"): 1,
        ("total", "control", "match"): 1,
    }


def test_in_a_test_a_difference_raises():
    @experiment("total", candidate=lambda: {"qty": 2})
    def total():
        return {"qty": 1}

    with (
        pytest.raises(MismatchFound, match=r"candidate: value at /qty: 1 \| 2"),
        experiments_raise(),
    ):
        total()


# In the database


def test_a_candidate_s_write_is_undone_and_the_caller_s_stays(postgresql_db, outcomes):
    activities = Activity.objects.using(postgresql_db)

    def write(type):
        # Whichever of the two comes first: the other's key is another.
        return bool(activities.create(day="2026-01-01", type=type))

    @experiment("write", candidate=lambda: write("candidate's"), using=[postgresql_db])
    def control():
        return write("control's")

    with transaction.atomic(using=postgresql_db):
        control()

    assert outcomes() == only("write", "match")
    assert activities.get().type == "control's"


def test_querysets_are_compared_by_rows_and_the_caller_s_stays_lazy(
    any_db_rolled_back, outcomes, django_assert_num_queries
):
    alias = any_db_rolled_back
    for type in "ab":
        Activity.objects.using(alias).create(day="2026-01-01", type=type)

    @experiment(
        "rows",
        candidate=lambda: Activity.objects.using(alias).filter(type="a"),
        using=[alias],
    )
    def rows():
        return Activity.objects.using(alias).all()

    answer = rows()

    assert answer._result_cache is None
    assert outcomes() == only("rows", "mismatch")


def test_a_candidate_that_sleeps_in_sql_costs_at_most_the_deadline(any_db, outcomes):
    from tests.experiments.sleeping import sleep_in_sql

    @experiment(
        "slow",
        candidate=lambda: sleep_in_sql(connections[any_db], 60),
        using=[any_db],
        timeout=0.2,
    )
    def control():
        return 1

    began = time.monotonic()
    with transaction.atomic(using=any_db):
        assert control() == 1

    assert time.monotonic() - began < 30
    assert outcomes() == only("slow", "late")


def test_after_three_overruns_it_rests():
    now = 0.0
    resting = Resting(overruns=3, pause=60.0, clock=lambda: now)

    assert [resting.overran() for _ in range(3)] == [False, False, True]
    assert resting.now

    now = 61.0
    assert not resting.now


def test_a_resting_experiment_runs_no_candidate(outcomes):
    ran = []

    @experiment("slow", candidate=lambda: ran.append(time.sleep(0.02)), timeout=0.001)
    def control():
        return None

    for _ in range(5):
        control()

    assert len(ran) == 3


# After and later


@pytest.mark.django_db(transaction=True)
def test_afterwards_it_runs_on_a_thread_of_its_own(outcomes):
    import threading

    threads = []

    @experiment(
        "after",
        candidate=lambda: threads.append(threading.current_thread().name),
        when="after",
        using=[],
    )
    def control():
        return None

    control()
    background.wait()

    assert threads == ["strangler-experiments"]
    assert outcomes() == only("after", "match")


@pytest.mark.django_db(transaction=True)
def test_afterwards_means_after_the_commit(outcomes):
    @experiment("after", candidate=lambda: 1, when="after", using=[])
    def control():
        return 1

    with transaction.atomic():
        control()
        background.wait()
        assert outcomes() == {}
    background.wait()

    assert outcomes() == only("after", "match")


def test_what_the_caller_changes_afterwards_is_not_compared(
    outcomes, django_capture_on_commit_callbacks
):
    @experiment("after", candidate=lambda: [1], when="after", using=[])
    def control():
        return [1]

    with django_capture_on_commit_callbacks(execute=True):
        control().append(2)
    background.wait()

    assert outcomes() == only("after", "match")


@pytest.mark.django_db(transaction=True)
def test_later_it_runs_in_a_subscriber(outcomes, monkeypatch):
    from django_strangler.testing import drain

    user = Payment._meta.get_field("user").related_model.objects.create(
        email="a@example.com"
    )
    payment = Payment.objects.create(user=user, amount=Decimal("5.00"), currency="EUR")

    @experiment(
        "later", candidate=lambda payment, by: payment.amount * by, when="later"
    )
    def control(payment, by):
        return payment.amount * by

    assert control(payment, Decimal(2)) == Decimal("10.00")
    assert outcomes() == {}

    drain()

    assert outcomes() == only("later", "match")


def test_later_takes_what_can_be_sent(outcomes):
    @experiment("later", candidate=lambda f: 1, when="later")
    def control(function):
        return 1

    assert control(print) == 1
    assert outcomes() == {("later", "", "broken"): 1}


# Bad input


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Receipt Total", {"candidate": print}),
        ("", {"candidate": print}),
        ("x" * 100, {"candidate": print}),
        ("total", {"candidate": print, "rate": 2}),
        ("total", {"candidate": print, "rate": "1"}),
        ("total", {"candidate": print, "when": "tomorrow"}),
        ("total", {"candidate": print, "same_errors": "maybe"}),
        ("total", {"candidate": print, "allow": ["everything"]}),
        ("total", {"candidate": print, "calibrate": -1}),
        ("total", {"candidate": print, "timeout": 0}),
        ("total", {"candidate": print, "candidates": {"b": print}}),
        ("total", {"candidates": {"control": print}}),
        ("total", {"candidates": {"Not A Name": print}}),
        ("total", {}),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(name, options):
    with pytest.raises(InvalidExperiment):
        experiment(name, **options)(print)


def test_async_functions_are_refused():
    async def control():
        return 1

    with pytest.raises(InvalidExperiment, match="async"):
        experiment("total", candidate=print)(control)


def test_two_experiments_of_one_name_are_refused():
    experiment("twice", candidate=print)(len)

    with pytest.raises(InvalidExperiment, match="Two experiments"):
        experiment("twice", candidate=print)(sum)


def test_the_recursion_limit_is_as_it_was():
    assert sys.getrecursionlimit() >= 1000
