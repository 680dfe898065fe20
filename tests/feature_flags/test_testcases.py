"""Two TestCases in turn that change a flag never see each other."""

from __future__ import annotations

from contextlib import suppress

from django.test import SimpleTestCase, TestCase, TransactionTestCase

from django_strangler import feature_flags
from django_strangler.models import Flag
from django_strangler.testing.flags import override_flag

NAME = "shared-by-tests"


def percentage() -> int:
    """What a check sees: 100, 0, or -1 without the flag."""
    decision = feature_flags.evaluate(NAME, 1)
    return {"everybody": 100, "nobody": 0}.get(decision.reason, -1)


class TestA(TestCase):
    def test_1(self):
        assert percentage() == -1
        feature_flags.set_rollout(NAME, 100)
        assert percentage() == 100

    def test_2(self):
        assert percentage() == -1
        feature_flags.set_rollout(NAME, 0)
        assert percentage() == 0

    def test_3(self):
        with self.captureOnCommitCallbacks(execute=True):
            feature_flags.set_rollout(NAME, 100)
        assert percentage() == 100


class TestB(TestCase):
    """With data for the whole class, which a test changes for itself."""

    @classmethod
    def setUpTestData(cls):
        feature_flags.set_rollout(NAME, 0)

    def test_1(self):
        assert percentage() == 0
        feature_flags.set_rollout(NAME, 100)
        assert percentage() == 100

    def test_2(self):
        assert percentage() == 0
        Flag.objects.all().delete()
        assert percentage() == -1

    def test_3(self):
        assert percentage() == 0


class TestC(TransactionTestCase):
    def test_1(self):
        assert percentage() == -1
        feature_flags.set_rollout(NAME, 100)
        assert percentage() == 100

    def test_2(self):
        assert percentage() == -1


@override_flag(NAME, True)
class TestOverridden(SimpleTestCase):
    """Without any database."""

    def test_the_class(self):
        assert feature_flags.is_enabled(NAME, None)
        assert feature_flags.evaluate(NAME, 1).reason == "override"

    @override_flag(NAME, False)
    def test_the_method(self):
        assert not feature_flags.is_enabled(NAME, 1, default=True)

    def test_a_block_inside_a_block(self):
        with override_flag(NAME, False):
            with override_flag(NAME):
                assert feature_flags.is_enabled(NAME, 1)
            assert not feature_flags.is_enabled(NAME, 1)
        assert feature_flags.is_enabled(NAME, 1)


class TestAfterwards(TestCase):
    def test_nothing_is_left_of_an_override(self):
        with suppress(RuntimeError), override_flag(NAME):
            raise RuntimeError
        assert percentage() == -1
