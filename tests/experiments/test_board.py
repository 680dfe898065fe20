"""What the board shows of experiments and branches."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_strangler import evidence, feature_flags
from django_strangler.experiments import branch, experiment, shown
from django_strangler.experiments.models import Mismatch
from django_strangler.experiments.recording import recorder
from django_strangler.monitoring import board
from django_strangler.monitoring.board import Verdict

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bare_board")]


def payments_total():
    return 1


payments_total.__module__ = "payments.totals"


class Legacy:
    def text(self):
        return "a text"


Legacy.__module__ = "notifications.legacy"


class Modern(Legacy):
    pass


class Different:
    def text(self):
        return "another text"


def compare(candidate, **options):
    function = experiment("total", candidate=candidate, **options)(payments_total)
    function()
    recorder.write()
    evidence.flush()


def row(domain: str = "payments") -> board.Row:
    (found,) = board.rows(domain)
    return found


def test_without_any_nothing_is_shown(django_assert_num_queries):
    with django_assert_num_queries(2):
        assert list(shown.experiments()) == []
    with django_assert_num_queries(1):
        assert list(shown.all_branches()) == []


def test_an_experiment_is_shown_in_the_domain_of_its_control(
    django_assert_num_queries,
):
    compare(lambda: 1)

    with django_assert_num_queries(2):
        (found,) = shown.experiments()

    assert (found.domain, found.name) == ("payments", "total")
    assert found.text == "differed in 0 of 1 run"
    assert found.left == ()


def test_one_that_has_not_run_says_so():
    experiment("total", candidate=lambda: 1)(payments_total)

    (found,) = shown.experiments()

    assert found.text == "no candidate has run"


def test_one_that_this_process_does_not_know_is_shown_as_well():
    from django_strangler.experiments.registry import registry

    compare(lambda: 2)
    registry.clear()

    (found,) = shown.experiments()

    assert found.domain == ""
    assert found.left


def test_a_mismatch_is_left_until_somebody_knows_it():
    compare(lambda: 2)

    found = row()
    assert found.verdict is Verdict.GO_ON
    assert found.reasons[0] == (
        "Places in which the experiment total differs, seen of late and not marked as "
        "known: 1."
    )
    assert "experiment:total failed on " in found.reasons[1]
    assert found.next == (
        "See what differs: manage.py strangler_experiments list total",
    )

    until = timezone.now() + timedelta(days=9)
    Mismatch.objects.get().mark_known(why="Rounding.", until=until, by="ada")
    # The board has loaded what subscribers import: others may have come.
    (found,) = (each for each in shown.experiments() if each.name == "total")
    assert found.left == ()


def test_a_mismatch_of_long_ago_is_not_left():
    compare(lambda: 2)
    Mismatch.objects.update(last_at=timezone.now() - timedelta(days=15))

    (found,) = shown.experiments()

    assert found.left == ()


def test_the_flag_that_says_for_whom_it_runs_need_not_reach_everybody():
    feature_flags.set_rollout("total-shadow", 10)
    experiment("total", candidate=lambda: 1, flag="total-shadow")(payments_total)

    found = row()

    assert [each.name for each in found.shown["Flags"]] == ["total-shadow"]
    assert found.next == ()
    assert "total-shadow" not in " ".join(found.reasons)


def test_a_flag_that_also_decides_must_reach_everybody():
    feature_flags.set_rollout("mailer-v2", 10)
    branch("mailer-v2", legacy=Legacy, modern=Modern)
    experiment("total", candidate=lambda: 1, flag="mailer-v2")(payments_total)

    assert "mailer-v2 is not at 100 %" in str(board.rows())


@pytest.mark.parametrize(
    "legacy",
    [Legacy, Legacy(), "notifications.legacy.Mailer"],
    ids=["class", "instance", "path"],
)
def test_a_branch_is_shown_in_the_domain_of_its_legacy_side(legacy):
    branch("mailer-v2", legacy=legacy, modern=Modern)

    (found,) = shown.all_branches()

    assert (found.domain, found.name) == ("notifications", "mailer-v2")


def test_a_branch_is_not_done_before_its_legacy_side_falls_silent():
    feature_flags.set_rollout("mailer-v2", 100)
    mailer = branch("mailer-v2", legacy=Legacy, modern=Modern)
    evidence.note("branch:mailer-v2", side="legacy")
    mailer.text()
    evidence.flush()

    found = row("notifications")

    assert found.share == 0.5
    assert found.verdict is Verdict.GO_ON
    assert "branch:mailer-v2 was seen on the legacy side" in " ".join(found.reasons)


def test_a_branch_whose_flag_is_missing_is_not_done():
    branch("mailer-v2", legacy=Legacy, modern=Modern)

    found = row("notifications")

    assert found.verdict is Verdict.GO_ON
    assert (
        "The flag mailer-v2 of mailer-v2 does not exist, so legacy serves everybody."
        in found.reasons
    )


def test_what_a_branch_compares_stands_beside_it():
    feature_flags.set_rollout("mailer-shadow", 100)
    mailer = branch(
        "mailer_v2", legacy=Legacy, modern=Different, shadow="mailer-shadow"
    )
    mailer.text()
    recorder.write()

    found = row("notifications")

    assert [each.name for each in found.shown["Branches"]] == ["mailer_v2"]
    assert [each.name for each in found.shown["Experiments"]] == ["mailer-v2.text"]
    assert [each.name for each in found.shown["Flags"]] == ["mailer-shadow"]


def test_a_branch_that_only_other_processes_know_is_shown_as_well():
    evidence.note("branch:mailer-v2", side="legacy")
    evidence.flush()

    (found,) = shown.all_branches()

    assert (found.domain, found.name) == ("", "mailer-v2")
