"""Breakers of several processes, which share nothing but a cache."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from django_strangler.services import CircuitOpen
from django_strangler.services.breakers import Breaker
from django_strangler.services.circuit import CallOutcome, Limits, State
from django_strangler.services.conf import ServiceSettings
from django_strangler.services.hints import Hints
from tests.waiting import wait_for

from .test_circuit import Clock

Process = Callable[..., Breaker]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def process(clock: Clock) -> Process:
    """process(): the breaker that one more process has of the same service."""

    def process(cache: object = None, **limits: float) -> Breaker:
        return Breaker(
            "payments",
            ServiceSettings(url="http://127.0.0.1:9"),
            limits=Limits(**limits),  # type: ignore[arg-type]
            hints=Hints("payments", clock, cache or caches["default"]),
            clock=clock,
            spread=lambda: 0.5,
        )

    return process


def ended(breaker: Breaker, outcome: CallOutcome) -> None:
    call = breaker.enter()
    call.tell(outcome, reason="a test")
    call.end()


def opened(breaker: Breaker) -> Breaker:
    while breaker.circuit.state is State.CLOSED:
        ended(breaker, CallOutcome.FAILURE)
    return breaker


def test_who_is_warned_goes_on_until_its_own_first_failure(process):
    warned = process()
    opened(process())

    for _ in range(20):
        ended(warned, CallOutcome.SUCCESS)
    assert warned.circuit.state is State.CLOSED
    ended(warned, CallOutcome.FAILURE)

    assert warned.circuit.state is State.OPEN


def test_a_warning_is_over_when_who_gave_it_has_closed(process, clock):
    sick, other = opened(process()), process()
    clock.now = sick.circuit.until
    for _ in range(2):
        ended(sick, CallOutcome.SUCCESS)
    assert sick.circuit.state is State.CLOSED

    ended(other, CallOutcome.FAILURE)

    assert other.circuit.state is State.CLOSED


def test_the_cache_is_asked_once_a_second_at_most(process, clock):
    other = process()
    ended(other, CallOutcome.FAILURE)
    opened(process())

    ended(other, CallOutcome.FAILURE)  # Within the second: it does not know yet.
    assert other.circuit.state is State.CLOSED
    clock.now += 1
    ended(other, CallOutcome.FAILURE)

    assert other.circuit.state is State.OPEN


def test_one_process_probes_and_the_others_wait_for_what_it_finds(process, clock):
    one, two = opened(process()), opened(process())
    clock.now = max(one.circuit.until, two.circuit.until)
    probe = one.enter()

    with pytest.raises(CircuitOpen) as refused:
        two.enter()
    assert 0.8 <= refused.value.retry_after <= 1.2
    probe.tell(CallOutcome.SUCCESS)
    probe.end()
    clock.now += 1.2

    ended(two, CallOutcome.SUCCESS)  # It may probe now.
    assert two.circuit.state is State.HALF_OPEN


def test_the_lease_of_a_probe_that_never_comes_back_ends(process, clock):
    one, two = (opened(process(lease=0.2)) for _ in range(2))
    clock.now = max(one.circuit.until, two.circuit.until)
    one.enter()  # And its process is killed.

    def probes() -> bool:
        clock.now += 1.2
        ended(two, CallOutcome.SUCCESS)
        return True

    wait_for(probes, ignoring=(CircuitOpen,))


def test_a_cache_that_fails_leaves_each_process_to_itself(process, clock, caplog):
    broken = BaseCache({})  # Whatever it is asked, it raises.
    caplog.set_level(logging.WARNING, "django_strangler.services")

    breakers = [opened(process(broken)) for _ in range(2)]
    clock.now = max(each.circuit.until for each in breakers)
    for each in breakers:
        for _ in range(2):
            ended(each, CallOutcome.SUCCESS)

    assert {each.circuit.state for each in breakers} == {State.CLOSED}
    assert len([each for each in caplog.messages if "cache" in each]) == 1
