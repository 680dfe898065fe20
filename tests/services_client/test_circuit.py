"""The state machine, by a clock that the test holds."""

from __future__ import annotations

import pytest

from django_strangler.services.circuit import (
    CallOutcome,
    Circuit,
    Limits,
    Permit,
    Refusal,
    State,
)

OK, BAD, NEITHER = CallOutcome.SUCCESS, CallOutcome.FAILURE, CallOutcome.NEITHER


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(Limits(), clock, lambda: 0.5)  # No jitter.


def permitted(circuit: Circuit) -> Permit:
    asked = circuit.ask()
    assert isinstance(asked, Permit), asked
    return asked


def opened(circuit: Circuit) -> Circuit:
    for _ in range(5):
        circuit.tell(permitted(circuit), BAD)
    assert circuit.state is State.OPEN
    return circuit


def test_five_failures_in_a_row_open_it(circuit):
    for _ in range(4):
        circuit.tell(permitted(circuit), BAD)
    assert circuit.state is State.CLOSED

    assert circuit.tell(permitted(circuit), BAD)

    assert isinstance(circuit.ask(), Refusal)


def test_a_success_between_makes_no_row(circuit):
    for outcome in (BAD, BAD, BAD, BAD, OK, BAD, BAD, BAD, BAD):
        circuit.tell(permitted(circuit), outcome)

    assert circuit.state is State.CLOSED


def test_half_of_at_least_ten_opens_it(circuit):
    for outcome in (BAD, OK, BAD, OK, BAD, OK, BAD, OK, OK):
        circuit.tell(permitted(circuit), outcome)
    assert circuit.state is State.CLOSED

    circuit.tell(permitted(circuit), BAD)

    assert circuit.state is State.OPEN


def test_calls_that_have_not_come_back_are_part_of_the_rate(circuit):
    for _ in range(20):
        permitted(circuit)

    for _ in range(4):
        circuit.tell(permitted(circuit), BAD)

    assert circuit.state is State.CLOSED  # 4 of 24, and not 4 of 4.


def test_failures_that_have_left_the_window_do_not_count(circuit, clock):
    for _ in range(4):
        circuit.tell(permitted(circuit), BAD)
        circuit.tell(permitted(circuit), OK)
    clock.now += 11

    for _ in range(4):
        circuit.tell(permitted(circuit), BAD)

    assert circuit.state is State.CLOSED


def test_slow_successes_open_it_where_that_is_asked_for(clock):
    circuit = Circuit(Limits(slow_after=0.5), clock, lambda: 0.5)
    for _ in range(10):
        permit = permitted(circuit)
        clock.now += 0.6
        circuit.tell(permit, OK)

    assert circuit.state is State.OPEN


def test_it_stays_open_twice_as_long_each_time_up_to_a_minute(circuit, clock):
    opened(circuit)
    waits = []
    for _ in range(6):
        waits.append(circuit.until - clock.now)
        clock.now = circuit.until
        circuit.tell(permitted(circuit), BAD)

    assert waits == [5, 10, 20, 40, 60, 60]


def test_processes_do_not_wake_together(clock):
    waits = []
    for spread in (0.0, 1.0):
        circuit = opened(Circuit(Limits(), clock, lambda spread=spread: spread))
        waits.append(round(circuit.until - clock.now, 6))

    assert waits == [4, 6]


def test_half_open_lets_one_probe_through_at_a_time(circuit, clock):
    opened(circuit)
    clock.now = circuit.until

    asked = [circuit.ask() for _ in range(8)]

    assert [isinstance(each, Permit) for each in asked] == [True] + [False] * 7


def test_a_probe_that_never_comes_back_is_forgotten(circuit, clock):
    opened(circuit)
    clock.now = circuit.until
    lost = permitted(circuit)

    clock.now += circuit.limits.lease

    assert permitted(circuit).is_probe
    assert lost.is_probe


def test_a_probe_that_says_nothing_is_given_back(circuit, clock):
    opened(circuit)
    clock.now = circuit.until

    circuit.tell(permitted(circuit), NEITHER)

    assert permitted(circuit).is_probe


def test_two_good_probes_close_it_and_old_failures_are_forgotten(circuit, clock):
    opened(circuit)
    clock.now = circuit.until
    circuit.tell(permitted(circuit), OK)
    assert circuit.state is State.HALF_OPEN

    circuit.tell(permitted(circuit), OK)
    assert circuit.state is State.CLOSED
    for _ in range(4):
        circuit.tell(permitted(circuit), BAD)

    assert circuit.state is State.CLOSED


def test_late_results_of_an_earlier_time_count_for_nothing(circuit, clock):
    late = [permitted(circuit) for _ in range(3)]
    opened(circuit)
    clock.now = circuit.until
    probe = permitted(circuit)

    for permit in late:
        circuit.tell(permit, BAD)
        circuit.tell(permit, OK)
    circuit.tell(probe, OK)

    assert circuit.state is State.HALF_OPEN


def test_a_warned_process_opens_at_its_first_own_failure(circuit):
    assert circuit.tell(permitted(circuit), BAD, warned=True)


def test_a_service_that_names_a_time_is_left_alone_until_then(circuit, clock):
    circuit.tell(permitted(circuit), BAD, until=17)
    assert circuit.until == clock.now + 17

    clock.now = circuit.until
    circuit.tell(permitted(circuit), BAD, until=86400)

    assert circuit.until == clock.now + 60


def test_postponing_keeps_this_process_from_probing(circuit, clock):
    opened(circuit)
    clock.now = circuit.until
    circuit.postpone(permitted(circuit), 1.0)

    assert isinstance(circuit.ask(), Refusal)
    clock.now += 1.0
    assert permitted(circuit).is_probe
