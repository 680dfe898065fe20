"""Who is to blame for a channel that confirms nothing: the rules, without RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_strangler.brokers import Cause, Kind, Outcome, Outgoing
from django_strangler.brokers.rabbitmq.lateness import Lateness
from django_strangler.brokers.rabbitmq.probes import Probe
from tests.brokers.failures.common import events

[STUCK], [FINE] = events(1, 1, "stuck.notified"), events(2, 2, "fine.settled")


class Far:
    """A loop and a link for probes, both in the hands of the test."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.timers: list[Callable[[], object]] = []
        self.found: list[dict[str, Outcome]] = []
        self.nothing = 0
        self.lateness = Lateness(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            neighbour=0.0,
            settled=lambda event, outcome: None,
            found=self.found.append,
            nothing=self._count,
        )

    def _count(self) -> None:
        self.nothing += 1

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.timers.append(callback)

    def send(self, probe: Probe) -> None:
        self.probes.append(probe)

    def answer(self, event: Outgoing, kind: Kind, **more: Any) -> None:
        probe = next(each for each in self.probes if event.row in each.events)
        probe.end(Outcome(event.row, kind, **more))

    def pass_a_moment(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()


def overdue(far: Far, *all: Outgoing) -> None:
    for event in all:
        far.answer(event, Kind.UNKNOWN, cause=Cause.OVERDUE)


@pytest.mark.parametrize("early", [False, True])
def test_what_is_not_confirmed_beside_what_is_is_ill(early):
    far = Far()
    far.lateness.begin([STUCK, FINE], early=early)

    far.answer(FINE, Kind.CONFIRMED)
    far.pass_a_moment()

    [ill] = far.found
    assert ill.keys() == {STUCK.type}
    assert not far.lateness.is_on


def test_an_early_look_needs_a_neighbour():
    far = Far()

    assert not far.lateness.begin([STUCK], early=True)
    assert not far.lateness.is_on
    assert far.lateness.begin([STUCK])


def test_an_early_look_blames_nobody_if_nothing_is_confirmed():
    far = Far()
    far.lateness.begin([STUCK, FINE], early=True)

    overdue(far, STUCK, FINE)

    assert (far.found, far.nothing) == ([], 1)
    assert not far.lateness.is_on

    far.probes.clear()
    far.lateness.begin([STUCK, FINE])
    overdue(far, STUCK, FINE)
    assert far.found[0].keys() == {STUCK.type, FINE.type}


def test_an_early_look_that_all_pass_ends_without_a_verdict():
    far = Far()
    far.lateness.begin([STUCK, FINE], early=True)

    far.answer(FINE, Kind.CONFIRMED)
    far.answer(STUCK, Kind.CONFIRMED)
    far.pass_a_moment()

    assert (far.found, far.nothing) == ([], 1)


def test_what_an_early_look_says_late_counts_for_nothing():
    far = Far()
    far.lateness.begin([STUCK, FINE], early=True)
    far.lateness.call_off()

    far.answer(FINE, Kind.CONFIRMED)
    far.pass_a_moment()

    assert (far.found, far.nothing) == ([], 0)
