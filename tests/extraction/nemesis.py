"""
What is done to processes, servers and networks while the team works.

A fault does its harm and mends it, and returns what proves that it bit; nothing, if
nothing shows it. The seed says which comes when.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from tests.services import processes
from tests.services.instances import NotStarted
from tests.torture import schedule
from tests.torture.crew import Member
from tests.waiting import wait_for

from .history import History
from .stage import Stage

ROLES = ("monolith", "relay", "consumer", "payments", "notifications", "outside")
Act = Callable[[Stage, random.Random], str]
FAULTS: dict[str, Act] = {}


def fault(name: str) -> Callable[[Act], Act]:
    def register(act: Act) -> Act:
        FAULTS[name] = act
        return act

    return register


def _kill(role: str) -> Act:
    def kill(stage: Stage, chance: random.Random) -> str:
        member = _one(stage, role, chance)
        member.kill()
        stage.fill()
        if role in stage.ports:
            # The fault lasts until its successor works: starting takes its share, too.
            stage.answers(role, member.place)
        return f"pid {member.process.pid} is dead"

    return kill


def _pause(role: str, seconds: tuple[float, float]) -> Act:
    def pause(stage: Stage, chance: random.Random) -> str:
        member = _one(stage, role, chance)
        member.freeze()
        time.sleep(chance.uniform(*seconds))
        lives = member.lives
        member.thaw()
        return f"pid {member.process.pid} stood still" if lives else ""

    return pause


def _one(stage: Stage, role: str, chance: random.Random) -> Member:
    return chance.choice(wait_for(lambda: stage.of(role), 30))


def _kill_mover(stage: Stage, chance: random.Random) -> str:
    """Where there is one."""
    return _kill("mover")(stage, chance) if stage.of("mover") else ""


for _role in ROLES:
    FAULTS[f"kill: {_role}"] = _kill(_role)
FAULTS["kill: mover"] = _kill_mover
# Longer than a lease for who has one; as long as a client's patience for nobody.
for _role, _seconds in (
    ("monolith", (0.5, 1.5)),
    ("payments", (0.5, 1.5)),
    ("relay", (2.5, 3.5)),
    ("consumer", (1.0, 3.0)),
    ("notifications", (1.0, 3.0)),
    ("outside", (0.5, 2.0)),
):
    FAULTS[f"pause: {_role}"] = _pause(_role, _seconds)


def _restart(server: str) -> Act:
    def restart(stage: Stage, chance: random.Random) -> str:
        began = time.monotonic()
        stage.servers[server].kill()
        _up(stage, server)
        return f"up again after {time.monotonic() - began:.1f} s"

    return restart


def _up(stage: Stage, server: str) -> None:
    """The last process of the one before may still hold what the next one wants."""

    def starts() -> bool:
        stage.servers[server].start()
        return True

    wait_for(starts, 300, ignoring=(NotStarted,))


for _server, _name in (
    ("legacy", "the monolith's database"),
    ("modern", "the services' database"),
    ("rabbitmq", "RabbitMQ"),
):
    FAULTS[f"restart: {_name}"] = _restart(_server)


@fault("kill: nginx")
def kill_nginx(stage: Stage, chance: random.Random) -> str:
    stage.kill_nginx()
    return "another one is there"


@fault("pause: nginx")
def pause_nginx(stage: Stage, chance: random.Random) -> str:
    assert stage.nginx is not None
    processes.freeze(stage.nginx.pid)
    time.sleep(chance.uniform(0.2, 0.6))
    processes.thaw(stage.nginx.pid)
    return "nobody came in"


@fault("restart: nginx's workers")
def reload_nginx(stage: Stage, chance: random.Random) -> str:
    stage.reload_nginx()
    return "reloaded"


@fault("cut: database connections")
def terminate(stage: Stage, chance: random.Random) -> str:
    rows = stage.query(
        "legacy",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    return f"{len(rows)} terminated" if rows else ""


def _network(name: str, harm: Callable[[Stage, random.Random], object]) -> Act:
    def act(stage: Stage, chance: random.Random) -> str:
        number = stage.proxies[name].connections
        harm(stage, chance)
        return f"{number} connections"

    return act


def _cut(name: str) -> Act:
    return _network(name, lambda stage, chance: stage.proxies[name].cut())


def _slow(name: str) -> Act:
    def harm(stage: Stage, chance: random.Random) -> None:
        stage.proxies[name].delay(0.05)
        time.sleep(chance.uniform(1, 2))
        stage.proxies[name].heal()

    return _network(name, harm)


def _away(name: str) -> Act:
    def harm(stage: Stage, chance: random.Random) -> None:
        stage.proxies[name].refuse()
        time.sleep(chance.uniform(0.5, 1.5))
        stage.proxies[name].heal()

    return _network(name, harm)


for _way in ("relay", "consumer", "notifications", "payments", "bank"):
    FAULTS[f"cut: the way of {_way}"] = _cut(_way)
for _way in ("relay", "payments", "bank"):
    FAULTS[f"slow: the way of {_way}"] = _slow(_way)
for _way in ("payments", "bank"):
    FAULTS[f"away: the way of {_way}"] = _away(_way)


@fault("deploy: the monolith, one by one")
def roll_monolith(stage: Stage, chance: random.Random) -> str:
    stage.roll("monolith")
    return "both are new"


@fault("deploy: the payments service, one by one")
def roll_payments(stage: Stage, chance: random.Random) -> str:
    stage.roll("payments")
    return "both are new"


class Nemesis:
    def __init__(self, stage: Stage, history: History, seed: int) -> None:
        self._stage, self._history = stage, history
        self._steps = schedule.steps(list(FAULTS), seed)
        self._lock = threading.Lock()  # Held by whoever wants to be left alone.
        self._is_over = threading.Event()

    @contextlib.contextmanager
    def at_work(self, *, is_calm: bool, pace: float = 1.0) -> Iterator[None]:
        thread = threading.Thread(target=self._run, args=(pace,), daemon=True)
        if not is_calm:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            if not is_calm:
                thread.join(60)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody is hurt in this block: what it measures is not a fault's doing."""
        with self._lock:
            yield

    def rest(self) -> None:
        """It is over; what is under way is mended."""
        self._is_over.set()
        with self._lock:
            pass

    def mend(self) -> None:
        self._is_over.set()
        self._make_whole()
        self._stage.fill()

    def _make_whole(self) -> None:
        for server in ("legacy", "modern", "rabbitmq"):
            _up(self._stage, server)
        for proxy in self._stage.proxies.values():
            proxy.heal()
        for each in self._stage.members:
            each.thaw()
        if self._stage.nginx is not None:
            processes.thaw(self._stage.nginx.pid)

    def _run(self, pace: float) -> None:
        while not self._is_over.is_set():
            step = next(self._steps)
            self._is_over.wait(step.pause * 4 * pace)
            with self._lock:
                if not self._is_over.is_set():
                    self._do(step)
            self._stage.fill()

    def _do(self, step: schedule.Step) -> None:
        at = time.time()
        try:
            proof = FAULTS[step.name](self._stage, step.chance)
            if not proof:
                return  # Nobody was there to be hurt.
        except Exception:  # noqa: BLE001  (It is void, and the run goes on.)
            traceback.print_exc()
            proof = ""
            self._make_whole()
        if proof:
            row = {"at": at, "ended": time.time(), "name": step.name, "proof": proof}
            self._history.faults.append(row)
        since = at - self._history.phases[0]["at"]
        print(f"{since:7.1f} s  {step.name}: {proof or 'VOID'}", flush=True)
