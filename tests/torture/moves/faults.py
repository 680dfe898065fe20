"""
What is done to movers, their networks and both servers.

Each fault does its harm, lets others go on meanwhile, mends it, and returns what proves
that it bit; nothing, if nothing shows it.
"""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable

from tests.waiting import TimedOut, wait_for

from .judge import query
from .points import CRASHED, MOVER, SWITCH
from .stage import SIDES, Stage

# Longer than a lease, and than a server leaves a silent transaction open.
FROZEN = 4.5
Act = Callable[[Stage, random.Random], str]
FAULTS: dict[str, Act] = {}


def fault(name: str) -> Callable[[Act], Act]:
    def register(act: Act) -> Act:
        FAULTS[name] = act
        return act

    return register


@fault("kill a mover")
def kill_one(stage: Stage, chance: random.Random) -> str:
    mover = chance.choice(stage.movers)
    time.sleep(chance.uniform(0, 0.5))
    stage.kill(mover)
    return f"{mover.pid} is dead"


@fault("kill all movers")
def kill_all(stage: Stage, chance: random.Random) -> str:
    movers = list(stage.movers)
    for each in movers:
        stage.kill(each)
    return f"{len(movers)} are dead"


@fault("a mover dies at a point")
def die(stage: Stage, chance: random.Random) -> str:
    point = chance.choice(sorted(MOVER))
    for each in list(stage.movers):
        stage.kill(each)
    mover = stage.start_mover(f"die:{point}:{chance.randint(1, 4)}")
    with contextlib.suppress(TimedOut):
        wait_for(lambda: mover.poll() is not None, 15)
    if mover.poll() != CRASHED:
        return ""
    stage.kills += 1
    return point


@fault("a mover stands still at a point")
def stand_still(stage: Stage, chance: random.Random) -> str:
    """Beyond its lease, while another one works; then it goes on where it was."""
    point = chance.choice(sorted(MOVER))
    for each in list(stage.movers):
        stage.kill(each)
    mover = stage.start_mover(f"stop:{point}:{chance.randint(1, 4)}")
    if not stops(mover.pid):
        return ""
    stage.start_mover()
    time.sleep(FROZEN)
    mover.send_signal(signal.SIGCONT)
    time.sleep(1)
    return point


@fault("a mover sleeps before a transaction")
def sleep_before(stage: Stage, chance: random.Random) -> str:
    """What it knew when it fell asleep, another one has moved on from."""
    for each in list(stage.movers):
        stage.kill(each)
    mover = stage.start_mover(f"stop:before-a-transaction:{chance.randint(1, 6)}")
    if not stops(mover.pid):
        return ""
    stage.start_mover()
    time.sleep(FROZEN)
    mover.send_signal(signal.SIGCONT)
    time.sleep(1)
    return f"{mover.pid} slept"


@fault("freeze a mover beyond its lease")
def freeze(stage: Stage, chance: random.Random) -> str:
    mover = chance.choice(stage.movers)
    mover.send_signal(signal.SIGSTOP)
    time.sleep(FROZEN)
    mover.send_signal(signal.SIGCONT)
    return f"{mover.pid} slept"


@fault("cut the movers' connections")
def cut(stage: Stage, chance: random.Random) -> str:
    side = chance.choice(SIDES)
    number = stage.connections_of_movers(side)
    stage.proxies[side].cut()
    return f"{number} to {side}"


@fault("no network for movers")
def black_hole(stage: Stage, chance: random.Random) -> str:
    side = chance.choice(SIDES)
    number = stage.connections_of_movers(side)
    stage.proxies[side].black_hole()
    time.sleep(FROZEN)
    # Those that were in it have long been given up by the server.
    stage.proxies[side].cut()
    stage.proxies[side].heal()
    return f"{number} to {side}"


@fault("terminate all connections")
def terminate(stage: Stage, chance: random.Random) -> str:
    side = chance.choice(SIDES)
    url = stage.urls[side]
    if url.startswith("postgres"):
        sql = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return f"{len(query(url, sql))} to {side}"
    ids = query(
        url,
        "SELECT id FROM information_schema.processlist "
        "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    )
    for row in ids:
        with contextlib.suppress(Exception):
            query(url, f"KILL {int(row['id'])}")
    return f"{len(ids)} to {side}"


@fault("kill a server")
def kill_server(stage: Stage, chance: random.Random) -> str:
    side = chance.choice(SIDES)
    server = stage.servers[side]
    server.kill()
    stage.kills += 1
    time.sleep(chance.uniform(0, 0.5))
    server.start()
    return side


def stops(pid: int, seconds: float = 15) -> bool:
    """Whether that process stands still before long."""

    def is_stopped() -> bool:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    try:
        wait_for(is_stopped, seconds, ignoring=(OSError,))
    except TimedOut:
        return False
    return True


# While a move is switching.

ActAtSwitch = Callable[[Stage, random.Random, str], str]  # With its goal.
SWITCHING: dict[str, ActAtSwitch] = {}


def at_a_switch(name: str) -> Callable[[ActAtSwitch], ActAtSwitch]:
    def register(act: ActAtSwitch) -> ActAtSwitch:
        SWITCHING[name] = act
        return act

    return register


@at_a_switch("a switch dies at a point")
def switch_dies(stage: Stage, chance: random.Random, goal: str) -> str:
    point = chance.choice(sorted(SWITCH))
    process = stage.spawn("switch", "torture", "--to", goal, point=f"die:{point}:1")
    process.wait(200)
    if process.returncode != CRASHED:
        return ""
    stage.kills += 1
    return point


@at_a_switch("kill a switch while both sides are closed")
def switch_killed(stage: Stage, chance: random.Random, goal: str) -> str:
    other = next(side for side in SIDES if side != goal)
    process = stage.spawn("switch", "torture", "--to", goal)
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        if stage.is_closed(other):
            time.sleep(chance.uniform(0, 0.03))
            is_over = process.poll() is not None
            stage.kill(process)
            return "" if is_over else f"with {other} closed"
    process.wait(200)
    return ""


@at_a_switch("a switch stands still at a point")
def switch_stands_still(stage: Stage, chance: random.Random, goal: str) -> str:
    """A mover ends what it has begun; then it goes on."""
    point = chance.choice(["closed", "drained", "before-opening"])
    process = stage.spawn("switch", "torture", "--to", goal, point=f"stop:{point}:1")
    if not stops(process.pid, 20):
        process.wait(200)
        return ""
    time.sleep(FROZEN)
    process.send_signal(signal.SIGCONT)
    process.wait(200)
    return point


@at_a_switch("a mover sleeps through a switch")
def mover_sleeps(stage: Stage, chance: random.Random, goal: str) -> str:
    """It has read marks, or rows, and writes them when the other side is open."""
    for each in list(stage.movers):
        stage.kill(each)
    mover = stage.start_mover(f"stop:before-a-transaction:{chance.randint(2, 6)}")
    if not stops(mover.pid):
        return ""
    stage.start_mover()
    time.sleep(FROZEN)
    try:
        stage.must("switch", "torture", "--to", goal)
        time.sleep(1.5)
    finally:
        mover.send_signal(signal.SIGCONT)
    time.sleep(1)
    return f"woke up with {goal} open"


@at_a_switch("kill all movers at a switch")
def movers_killed(stage: Stage, chance: random.Random, goal: str) -> str:
    process = stage.spawn("switch", "torture", "--to", goal)
    time.sleep(chance.uniform(0.5, 1.5))
    for each in list(stage.movers):
        stage.kill(each)
    process.wait(200)
    return "while it switched"


@at_a_switch("kill a server at a switch")
def server_killed(stage: Stage, chance: random.Random, goal: str) -> str:
    side = chance.choice(SIDES)
    process = stage.spawn("switch", "torture", "--to", goal)
    time.sleep(chance.uniform(0.5, 1.5))
    stage.servers[side].kill()
    stage.kills += 1
    stage.servers[side].start()
    process.wait(200)
    return side
