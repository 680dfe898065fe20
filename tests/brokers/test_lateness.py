"""Who is to blame for a channel that confirms nothing: the rules, without RabbitMQ."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from django_strangler.brokers import Cause, Kind, Outcome, Outgoing
from django_strangler.brokers.rabbitmq import sender as sending
from django_strangler.brokers.rabbitmq.lateness import MOST, Lateness, Settled
from django_strangler.brokers.rabbitmq.probes import Probe
from django_strangler.brokers.rabbitmq.sender import Limits, Sender
from django_strangler.brokers.rabbitmq.urls import parse_nodes
from django_strangler.conf import Settings
from tests.brokers.failures.common import events

[STUCK], [FINE] = events(1, 1, "stuck.notified"), events(2, 2, "fine.settled")


class Far:
    """A loop and a link for probes, both in the hands of the test."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.timers: list[Callable[[], object]] = []
        self.links: list[object] = []
        self.settled: list[tuple[Outgoing, Kind]] = []
        self.found: list[dict[str, Outcome]] = []
        self.nothing = 0
        self.lateness = Lateness(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            neighbour=0.0,
            found=self._find,
            nothing=self._count,
        )

    def _find(self, settled: Settled, ill: dict[str, Outcome]) -> None:
        self.settled += [(event, outcome.kind) for event, outcome in settled]
        self.found.append(ill)

    def _count(self) -> None:
        self.nothing += 1

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.timers.append(callback)

    def send(self, probe: Probe) -> None:
        self.probes.append(probe)
        probe.sent_at = time.monotonic()

    def sends_in(self, seconds: float, event: Outgoing) -> None:
        self._probe(event).sent_at = seconds and time.monotonic() + seconds

    def _probe(self, event: Outgoing) -> Probe:
        return next(each for each in self.probes if event.row in each.events)

    def answer(self, event: Outgoing, kind: Kind, **more: Any) -> None:
        self._probe(event).end(Outcome(event.row, kind, **more))

    def turn(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()

    def pass_a_moment(self) -> None:
        self.turn()
        self.turn()


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
    assert far.settled == [(FINE, Kind.CONFIRMED)]
    assert not far.lateness.is_on


@pytest.mark.parametrize("early", [False, True])
def test_an_answer_that_has_come_in_is_read_before_the_verdict(early):
    far = Far()
    far.lateness.begin([STUCK, FINE], early=early)
    far.answer(FINE, Kind.CONFIRMED)
    far.turn()

    far.answer(STUCK, Kind.CONFIRMED)
    far.pass_a_moment()

    assert not any(far.found)


@pytest.mark.parametrize("seconds", [0, 60])
def test_what_is_not_sent_yet_or_has_just_been_is_not_late(seconds):
    far = Far()
    far.lateness.begin([STUCK, FINE], early=True)
    far.sends_in(seconds, STUCK)

    far.answer(FINE, Kind.CONFIRMED)
    far.pass_a_moment()

    assert far.found == []


def test_an_early_look_asks_for_few_types():
    far = Far()
    many = [events(row, row, f"type.number_{row}")[0] for row in range(1, MOST + 3)]

    far.lateness.begin(many, early=True)
    assert len(far.probes) == MOST

    far.probes.clear()
    far.lateness.begin(many)
    assert len(far.probes) == len(many)


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
    far.answer(STUCK, Kind.RETURNED)
    far.pass_a_moment()

    assert (far.found, far.nothing) == ([], 1)


def test_what_an_early_look_says_late_counts_for_nothing():
    far = Far()
    far.lateness.begin([STUCK, FINE], early=True)
    far.lateness.call_off()

    far.answer(FINE, Kind.CONFIRMED)
    far.pass_a_moment()

    assert (far.found, far.nothing) == ([], 0)


@pytest.fixture
def make_sender(monkeypatch):
    """make_sender(url): one that has no connection."""
    far = Far()
    monkeypatch.setattr(sending, "Loop", lambda name, begin: far)
    monkeypatch.setattr(sending, "Probes", lambda *given: far)

    def make(url="amqp://127.0.0.1"):
        def ignore(*told):
            pass

        nodes = parse_nodes([url])
        return Sender(nodes, Settings(), Limits(), report=ignore, turn=ignore)

    return make


def test_an_early_look_ends_as_soon_as_the_channel_confirms_anything(make_sender):
    sender = make_sender()
    sender._channels.main = main = SimpleNamespace(ready=True)
    sender._lateness.begin([STUCK, FINE], early=True)

    sender.ended(main, [FINE], [Outcome(FINE.row, Kind.CONFIRMED)])

    assert not sender._lateness.is_on


def test_with_much_patience_a_neighbour_is_waited_for_longer(make_sender):
    usual, patient = make_sender(), make_sender("amqp://127.0.0.1?confirm_timeout=60")

    assert (usual._lateness._neighbour, patient._lateness._neighbour) == (1, 12)
