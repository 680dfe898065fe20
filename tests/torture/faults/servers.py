"""The database and RabbitMQ: killed, paused, short of memory, full, in another time."""

from __future__ import annotations

import random
import time

from tests.torture import witness
from tests.torture.checker import NACKS_BEGIN, NACKS_END
from tests.torture.stage import CONFIRM_TIMEOUT, Stage

from . import Bite, fault
from .processes import at_work, until

HOUR = 3600


def _kill(server: object, windows: tuple[int, ...]) -> Bite:
    pid = server.process.pid  # type: ignore[attr-defined]
    server.kill()  # type: ignore[attr-defined]
    is_gone = not server.running  # type: ignore[attr-defined]
    time.sleep(0.5)
    server.start()  # type: ignore[attr-defined]
    return Bite(f"pid {pid} gone" if is_gone else "", windows)


@fault("kill RabbitMQ", outage=True)
def kill_rabbitmq(stage: Stage, chance: random.Random) -> Bite:
    return _kill(stage.rabbitmq, stage.windows)


@fault("kill the database", outage=True)
def kill_database(stage: Stage, chance: random.Random) -> Bite:
    return _kill(stage.server, stage.windows)


@fault("pause RabbitMQ", outage=True)
def pause_rabbitmq(stage: Stage, chance: random.Random) -> Bite:
    """Alive but silent, for longer than the relays wait for a confirm."""
    stage.rabbitmq.pause()
    is_silent = not stage.rabbitmq.answers()
    time.sleep(CONFIRM_TIMEOUT + 2)
    stage.rabbitmq.resume()
    return Bite("it did not answer" if is_silent else "", stage.windows)


@fault("pause the database", outage=True)
def pause_database(stage: Stage, chance: random.Random) -> Bite:
    """For longer than the leases last."""
    stage.server.pause()
    is_silent = not stage.server.answers()
    time.sleep(3)
    stage.server.resume()
    return Bite("it did not answer" if is_silent else "", stage.windows)


@fault("close all connections", outage=True)
def close_connections(stage: Stage, chance: random.Random) -> Bite:
    closed: list[int] = [0]

    def close() -> bool:
        closed[0] = int(
            stage.rabbitmq.evaluate(
                'length([rabbit_networking:close_connection(Pid, "torture") '
                "|| Pid <- rabbit_networking:connections()])"
            )
        )
        return closed[0] > 0

    until(close, 60)  # Until there is one.
    count = closed[0]
    return Bite(f"{count} connections closed" if count else "", stage.windows)


@fault("terminate all backends", outage=True)
def terminate_backends(stage: Stage, chance: random.Random) -> Bite:
    count = stage.database.terminate()
    return Bite(f"{count} sessions ended" if count else "", stage.windows)


@fault("memory alarm", outage=True)
def memory_alarm(stage: Stage, chance: random.Random) -> Bite:
    """RabbitMQ takes nothing; no connection is lost, so nothing is repeated."""
    node = stage.rabbitmq
    set_watermark = "vm_memory_monitor:set_vm_memory_high_watermark({})"
    node.evaluate(set_watermark.format("0.0000001"))
    try:
        is_blocked = until(
            lambda: "memory" in node.evaluate("rabbit_alarm:get_alarms()")
        )
        before = stage.database.pending()
        time.sleep(2.5)
        more = stage.database.pending() - before
    finally:
        node.evaluate(set_watermark.format("0.6"))
    proof = f"alarmed, {more} more events pending"
    return Bite(proof if is_blocked and more > 0 else "")


@fault("reject-publish", outage=True)
def reject_publish(stage: Stage, chance: random.Random) -> Bite:
    """One queue is full: nacks, although the other queues take the event."""
    node = stage.rabbitmq
    witness.mark(node.url, NACKS_BEGIN)
    node.limit(witness.WORK, 1)
    try:
        until(lambda: stage.database.pending() > 20, 20)
        before = witness.depth(node.url, witness.WORK)
        time.sleep(1.5)
        grown = witness.depth(node.url, witness.WORK) - before
        pending = stage.database.pending()
    finally:
        # Raised before it is taken away, and a message that makes the queue look at it:
        # else it would not tell its publishers that it has room (RabbitMQ 3.10).
        node.limit(witness.WORK, 1_000_000_000)
        witness.mark(node.url, "room", witness.WORK)
    # What was sent before may still come into the stream.
    time.sleep(1)
    node.limit(witness.WORK, 0)
    witness.mark(node.url, NACKS_END)
    proof = f"the queue took nothing, {pending} events pending"
    return Bite(proof if pending > 20 and grown == 0 else "")


@fault("a queue loses its majority")
def no_majority(stage: Stage, chance: random.Random) -> Bite:
    """
    RabbitMQ's other node dies, on which one queue depends; no outage for the others.

    Longer than it takes to find out which type is not confirmed.
    """
    if stage.second is None:
        return Bite("left out: there is one node only")
    stage.second.kill()
    until(lambda: stage.database.pending_of("stuck") > 0, 20)
    time.sleep(4 * CONFIRM_TIMEOUT)
    is_gone = not stage.second.running
    pending = stage.database.pending_of("stuck")
    stage.second.start()
    proof = f"the other node was gone, {pending} events for its queue pending"
    return Bite(proof if is_gone and pending else "", stage.windows)


@fault("the clock jumps", outage=True)
def jump(stage: Stage, chance: random.Random) -> Bite:
    """The database's clock: an hour ahead and back, or an hour back and ahead."""
    if not stage.server.clock:
        return Bite("left out: the database has no clock of its own")
    windows = stage.windows
    there = chance.choice([HOUR, -HOUR])
    proofs = []
    for offset in (there, 0):
        stage.server.set_clock(offset)
        if until(lambda offset=offset: abs(stage.database.ahead - offset) < 60):
            proofs.append(f"{stage.database.ahead:+.0f} s")
        time.sleep(3)
    proof = f"its clock was {' and then '.join(proofs)} ahead"
    return Bite(proof if len(proofs) == 2 else "", windows + windows)


@fault("leases of another time", outage=True)
def shift_leases(stage: Stage, chance: random.Random) -> Bite:
    """What a jump of the clock looks like to relays, where it cannot be made."""
    windows = stage.windows
    hours = chance.choice([1, -1])
    interval = (
        f"expires_at + interval '{hours} hour'"
        if stage.database.is_postgresql
        else f"expires_at + INTERVAL {hours} HOUR"
    )
    stage.database.query(f"UPDATE strangler_relayprocess SET expires_at = {interval}")
    # Whose lease is not to be believed joins anew, and gets lanes again.
    are_back = len(at_work(stage)) > 1
    moved = f"all leases moved by {hours:+d} h"
    return Bite(moved if windows and are_back else "", windows)
