"""Relays, publishers and consumers: killed, paused, stopped, joined by others."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from tests.torture.crew import LEASE, WINDOW, Member
from tests.torture.stage import Stage
from tests.waiting import TimedOut, wait_for

from . import Bite, fault


def until(condition: Callable[[], object], timeout: float = 30.0) -> bool:
    """Whether it came true in time; errors of a shaken server count as not yet."""
    with suppress(TimedOut):
        wait_for(condition, timeout, interval=0.1, ignoring=(Exception,))
        return True
    return False


def at_work(stage: Stage) -> list[Member]:
    """The relays that have lanes; there should be two of them at least."""
    relays: list[Member] = []

    def found() -> bool:
        living = stage.crew.of("relay")
        relays[:] = [each for each in living if stage.database.lanes_of(each.name)]
        return len(relays) > 1

    until(found, 60)
    return relays  # As they were then: a moment later, lanes may be changing hands.


def caught_at_work(stage: Stage, chance: random.Random) -> tuple[Member, int]:
    """A relay, frozen while events wait or are under way in its lanes."""
    deadline = time.monotonic() + 30
    while True:
        relay = chance.choice(at_work(stage))
        relay.freeze()
        pending = 0
        with suppress(Exception):  # The database is shaken: it must not stay frozen.
            pending = stage.database.pending_in_lanes(relay.name)
        if pending or time.monotonic() > deadline:
            return relay, pending
        relay.thaw()
        time.sleep(0.05)


def taken_over(stage: Stage, relay: Member) -> bool:
    """Whether others got its lanes while it cannot do anything about it."""
    return until(lambda: stage.database.lanes_of(relay.name) == 0, LEASE + 30)


@fault("kill a relay")
def kill_relay(stage: Stage, chance: random.Random) -> Bite:
    relay, pending = caught_at_work(stage, chance)
    relay.kill()
    proof = f"pid {relay.process.pid} gone, {pending} events pending in its lanes"
    return Bite(proof if pending else "", (relay.window,))


@fault("kill all relays", outage=True)
def kill_all_relays(stage: Stage, chance: random.Random) -> Bite:
    relays = at_work(stage)
    for relay in relays:
        relay.freeze()
    try:
        pending = stage.database.pending()
    finally:
        for relay in relays:
            relay.kill()
    stage.crew.fill()
    at_work(stage)  # Until then nobody is there to whom a stall could be due.
    proof = f"{len(relays)} relays gone, {pending} events pending"
    return Bite(
        proof if relays and pending else "", tuple(each.window for each in relays)
    )


@fault("pause a relay beyond its lease")
def pause_relay(stage: Stage, chance: random.Random) -> Bite:
    relay, pending = caught_at_work(stage, chance)
    try:
        is_taken = taken_over(stage, relay)
    finally:
        relay.thaw()
    proof = f"others took its lanes over, with {pending} events pending"
    return Bite(proof if is_taken and pending else "", (relay.window,))


@fault("stop a relay politely")
def stop_relay(stage: Stage, chance: random.Random) -> Bite:
    relay = chance.choice(at_work(stage))
    relay.stop()
    is_polite = relay.process.returncode == 0
    return Bite("it ended with 0" if is_polite else "", (relay.window,))


@fault("relays join and leave")
def join(stage: Stage, chance: random.Random) -> Bite:
    new = [stage.crew.start("relay", place) for place in (0, 1)]
    joined = until(lambda: all(stage.database.lanes_of(each.name) for each in new), 40)
    for each in new:
        each.stop()
    proof = "both got lanes" if joined else ""
    return Bite(proof, tuple(each.window for each in new))


@fault("overlapping drains without relays", outage=True)
def drains(stage: Stage, chance: random.Random) -> Bite:
    """As on Celery's workers: tasks that overlap, and nothing else."""
    relays = at_work(stage)
    for relay in stage.crew.of("relay"):
        relay.stop()
    task = (
        "import django; django.setup()\n"
        "from django_strangler.tasks import drain_outbox\n"
        "print('confirmed', drain_outbox.apply().get(), 'events')"
    )
    command = ("-m", "django", "drain_outbox", "--once", "--lease", str(LEASE))
    running = [
        stage.crew.spawn(*command),
        stage.crew.spawn(*command),
        stage.crew.spawn("-c", task),
    ]
    # One gets all lanes, and goes on while there is more; the others end at once.
    names = [f"{socket.gethostname()}:{each.pid}" for each in running]
    lanes = [0]

    def drained() -> bool:
        lanes.append(sum(map(stage.database.lanes_of, names)))
        return lanes[-1] > 0

    until(drained, 40)
    until(lambda: sum(each.poll() is None for each in running) < 2, 20)
    time.sleep(2)
    for each in running:
        each.terminate()
        each.communicate(timeout=60)
    cut_short = [each for each in running if each.returncode]
    windows = (*(each.window for each in relays), *[WINDOW] * len(cut_short))
    stage.crew.fill()
    at_work(stage)
    proof = f"they had {max(lanes)} lanes between them"
    return Bite(proof if max(lanes) else "", windows)


@fault("kill a publisher")
def kill_publisher(stage: Stage, chance: random.Random) -> Bite:
    return _killed(chance.choice(stage.crew.of("publisher")))


@fault("kill a consumer")
def kill_consumer(stage: Stage, chance: random.Random) -> Bite:
    return _killed(chance.choice(stage.crew.of("consumer")))


def _killed(member: Member) -> Bite:
    member.kill()
    return Bite(f"pid {member.process.pid} gone")


@fault("pause a publisher")
def pause_publisher(stage: Stage, chance: random.Random) -> Bite:
    """In the middle of a transaction, if it can be caught there: its locks stay."""
    publisher = chance.choice(stage.crew.of("publisher"))
    return _paused(publisher, chance.uniform(1, 3))


@fault("pause a consumer")
def pause_consumer(stage: Stage, chance: random.Random) -> Bite:
    """Beyond its heartbeat: RabbitMQ hands its deliveries to others."""
    consumer = chance.choice(stage.crew.of("consumer"))
    return _paused(consumer, chance.choice([2, 12]))


def _paused(member: Member, seconds: float) -> Bite:
    member.freeze()
    time.sleep(seconds)
    lives = member.lives
    member.thaw()
    return Bite(f"pid {member.process.pid} stood still" if lives else "")
