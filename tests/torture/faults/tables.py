"""Housekeeping at the worst time, and routes that come and go."""

from __future__ import annotations

import random
import re
import time

from tests.torture import witness
from tests.torture.stage import Stage

from . import Bite, fault
from .processes import at_work, taken_over, until

GRACE = 1.5  # Seconds after which nothing may be parked for a route that is back.


@fault("no route", outage=True)
def unroutable(stage: Stage, chance: random.Random) -> Bite:
    """The one binding is gone for a while; what was parked is replayed."""
    first = stage.database.last_parking()
    witness.route(stage.rabbitmq.url, "torture.#", bound=False)
    until(lambda: stage.database.last_parking() > first + 50, 12)
    witness.route(stage.rabbitmq.url, "torture.#", bound=True)
    time.sleep(GRACE)
    last = stage.database.last_parking()
    stage.justified.append((first, last))
    said = stage.crew.run("replay_events", "--unroutable", "--no-input")
    is_replayed = "are pending again" in said
    return Bite(
        f"{last - first} events parked and replayed"
        if is_replayed and last > first
        else ""
    )


@fault("a relay wakes up with returns of long ago", outage=True)
def stale_returns(stage: Stage, chance: random.Random) -> Bite:
    """
    Its opinion that there is no route is outdated, and its lease is over.

    The returns reach it while it is frozen. Meanwhile the route comes back and others
    take its lanes, but cannot send. Once awake, it must not park anything.
    """
    relay = chance.choice(at_work(stage))
    others = [each for each in stage.crew.of("relay") if each is not relay]
    own = stage.to_broker[relay.place]
    first = stage.database.last_parking()
    own.black_hole("down")
    witness.route(stage.rabbitmq.url, "torture.#", bound=False)
    time.sleep(1)
    relay.freeze()
    try:
        pending = stage.database.pending_in_lanes(relay.name)
        own.heal()
        for each in others:
            stage.to_broker[each.place].refuse()
        witness.route(stage.rabbitmq.url, "torture.#", bound=True)
        is_taken = taken_over(stage, relay)
        time.sleep(GRACE)
        justified = stage.database.last_parking()
        stage.justified.append((first, justified))
    finally:
        relay.thaw()
    time.sleep(0.7)
    for each in others:
        stage.to_broker[each.place].heal()
    time.sleep(1)
    stage.replay("torture.#")
    proof = f"others took over {pending} pending events that were returned to it"
    windows = tuple(each.window for each in (relay, *others))
    return Bite(proof if is_taken and pending else "", windows)


@fault("prune")
def prune(stage: Stage, chance: random.Random) -> Bite:
    def deleted() -> int:
        said = stage.crew.run("prune_outbox")
        found = re.search(r"([\d,]+) confirmed events deleted", said)
        return int(found[1].replace(",", "")) if found else 0

    count = 0
    if until(lambda: deleted() > 0, 20):
        count = 1
    return Bite("confirmed events were deleted" if count else "")


@fault("vacuum")
def vacuum(stage: Stage, chance: random.Random) -> Bite:
    """PostgreSQL's, with ANALYZE; MariaDB's OPTIMIZE, which builds the table anew."""
    if stage.database.is_postgresql:
        stage.database.query("VACUUM (ANALYZE) strangler_outboxevent")
        return Bite("VACUUM went through")
    said = stage.database.query("OPTIMIZE TABLE strangler_outboxevent")
    return Bite("OPTIMIZE went through" if "OK" in str(said) else "")


@fault("a long idle snapshot")
def snapshot(stage: Stage, chance: random.Random) -> Bite:
    """A forgotten transaction: nothing that dies meanwhile can be cleaned up."""
    count = "SELECT SUM(count) FROM torture_account"
    with stage.database.session() as cursor:
        if stage.database.is_postgresql:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        else:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        cursor.execute(count)
        before = cursor.fetchone()
        time.sleep(chance.uniform(4, 8))
        cursor.execute(count)
        after = cursor.fetchone()
        cursor.execute("ROLLBACK")
    now = stage.database.one(count)
    is_old = before == after and now > after[0]
    return Bite(f"it did not see {now - after[0]} new events" if is_old else "")
