from __future__ import annotations

from django_strangler.services import retries
from django_strangler.services.retries import Budget


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_retries_are_a_share_of_the_calls_and_one_a_second():
    budget = Budget(clock=Clock())
    for _ in range(100):
        budget.called()

    assert sum(budget.take() for _ in range(100)) == 30


def test_what_was_saved_up_is_soon_worth_nothing():
    clock = Clock()
    budget = Budget(clock=clock)
    for _ in range(1000):
        budget.called()
    clock.now += 11

    assert sum(budget.take() for _ in range(100)) == 10


def test_only_safe_methods_and_those_with_a_key_are_repeated():
    assert retries.is_repeatable("GET", None)
    assert retries.is_repeatable("POST", "k-1")
    assert not retries.is_repeatable("POST", None)
    assert not retries.is_repeatable("DELETE", "")
