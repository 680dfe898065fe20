"""One interface, two implementations, and a flag for each call."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from django_strangler import evidence
from django_strangler.experiments import (
    InvalidExperiment,
    MismatchFound,
    branch,
    experiments_raise,
)
from django_strangler.testing import override_flag

pytestmark = pytest.mark.django_db

HERE = __name__


class Legacy:
    def text(self, payment_id):
        return f"legacy {payment_id}"

    def same(self, payment_id):
        return payment_id

    async def later(self):
        return 1


class Modern:
    def text(self, payment_id):
        return f"modern {payment_id}"

    def same(self, payment_id):
        return payment_id

    def later(self):
        return 1

    def broken(self):
        raise ValueError("modern")


@pytest.fixture
def mailer():
    return branch(
        "mailer-v2", legacy=Legacy, modern=Modern, subject=lambda payment: payment
    )


def test_the_flag_chooses_for_each_call(mailer):
    with override_flag("mailer-v2", False):
        assert mailer.text(7) == "legacy 7"
    with override_flag("mailer-v2", True):
        assert mailer.text(7) == "modern 7"


def test_the_subject_of_the_call_is_asked_about():
    from django_strangler import feature_flags

    feature_flags.set_rollout("mailer-v2", 0)
    feature_flags.include("mailer-v2", "7")
    mailer = branch(
        "mailer-v2", legacy=Legacy, modern=Modern, subject=lambda payment: payment
    )

    assert mailer.text(7) == "modern 7"
    assert mailer.text(8) == "legacy 8"


@pytest.mark.parametrize(
    "given", [Legacy, Legacy(), f"{HERE}.Legacy"], ids=["class", "instance", "path"]
)
def test_a_side_is_a_class_an_instance_or_a_path(given):
    mailer = branch("mailer-v2", legacy=given, modern=f"{HERE}.Modern")

    with override_flag("mailer-v2", False):
        assert mailer.text(7) == "legacy 7"


def test_a_side_that_is_not_asked_is_not_even_imported():
    mailer = branch("mailer-v2", legacy=Legacy, modern="no.such.module.Modern")

    with override_flag("mailer-v2", False):
        assert mailer.text(7) == "legacy 7"


def test_with_a_shadow_both_are_compared_and_legacy_answers(mailer):
    mailer = branch(
        "mailer-v2",
        legacy=Legacy,
        modern=Modern,
        shadow="mailer-shadow",
        subject=lambda payment: payment,
    )

    with override_flag("mailer-v2", False), override_flag("mailer-shadow", True):
        assert mailer.text(7) == "legacy 7"
        with experiments_raise():
            assert mailer.same(7) == 7
        with (
            pytest.raises(MismatchFound, match=r"mailer-v2\.text"),
            experiments_raise(),
        ):
            mailer.text(7)


def test_where_modern_answers_nothing_is_compared():
    mailer = branch("mailer-v2", legacy=Legacy, modern=Modern, shadow="mailer-shadow")

    with (
        override_flag("mailer-v2", True),
        override_flag("mailer-shadow", True),
        experiments_raise(),
    ):
        assert mailer.text(7) == "modern 7"


def test_both_sides_are_seen():
    mailer = branch("seen-v2", legacy=Legacy, modern=Modern)

    with override_flag("seen-v2", False):
        mailer.text(7)
    with override_flag("seen-v2", True):
        mailer.text(7)
        with pytest.raises(ValueError, match="modern"):
            mailer.broken()
    evidence.flush()

    seen = evidence.seen("branch:seen-v2", since=timedelta(minutes=5))
    assert seen["legacy"].checked == 1
    assert (seen["modern"].checked, seen["modern"].failed) == (2, 1)


def test_an_async_side_is_refused():
    mailer = branch("mailer-v2", legacy=Legacy, modern=Modern)

    with (
        override_flag("mailer-v2", False),
        pytest.raises(InvalidExperiment, match="is async"),
    ):
        mailer.later()


def test_only_what_the_interface_has_can_be_called():
    mailer = branch(
        "mailer-v2", legacy=f"{HERE}.Legacy", modern=Modern, interface=Legacy
    )

    with pytest.raises(AttributeError, match="has no 'broken'"):
        mailer.broken()


def test_options_of_an_experiment_need_a_shadow():
    with pytest.raises(InvalidExperiment, match="no shadow="):
        branch("mailer-v2", legacy=Legacy, modern=Modern, rate=0.1)


@pytest.mark.slow
def test_a_type_checker_sees_the_interface(tmp_path: Path):
    (tmp_path / "mailing.py").write_text(
        "from django_strangler.experiments import branch\n\n\n"
        "class Mailer:\n"
        "    def text(self, id: int) -> str:\n        return str(id)\n\n\n"
        'one = branch("m", legacy=Mailer, modern=Mailer)\n'
        'two = branch("m", legacy="x.Mailer", modern="y.Mailer", interface=Mailer)\n'
        "reveal_type(one.text(1))\nreveal_type(two.text(1))\n"
    )
    pytest.importorskip("mypy")

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            "",
            "--ignore-missing-imports",
            "--follow-imports",
            "silent",
            "mailing.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "MYPYPATH": str(Path(__file__).parents[2]),
        },
    )

    revealed = re.findall(r'Revealed type is "(?:builtins\.)?(\w+)"', done.stdout)
    assert revealed == ["str", "str"], done.stdout
