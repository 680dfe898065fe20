"""Two servers, networks, movers and writers, and what is done with the command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.services import processes
from tests.services.databases import Databases, database_url
from tests.services.proxy import Proxy
from tests.services.services import KINDS, Services
from tests.waiting import wait_for

from . import judge, ledger
from .moves import NAME

ROOT = Path(__file__).parents[3]
MOVERS = 2
SIDES = ("legacy", "modern")


class Stage:
    """What faults are done to."""

    def __init__(
        self,
        servers: dict[str, Any],
        urls: dict[str, str],
        logs: Path,
        *,
        mutant: str,
        is_calm: bool,
        remember: Callable[[int], None],
    ) -> None:
        self._remember = remember
        self.servers, self.urls, self.logs = servers, urls, logs
        self.kills = 0
        self.movers: list[subprocess.Popen[bytes]] = []
        self.writers: subprocess.Popen[str] | None = None
        self._all: list[subprocess.Popen[Any]] = []
        self.proxies = {}
        through = dict(urls)
        if not is_calm:
            for side in SIDES:
                self.proxies[side] = Proxy(servers[side].port)
                through[side] = urls[side].replace(
                    f":{servers[side].port}/", f":{self.proxies[side].port}/"
                )
        common = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.torture.moves.settings",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
        }
        if mutant:
            common["TORTURE_MUTANT"] = mutant
        self.direct = {
            **common,
            "DEFAULT_URL": urls["legacy"],
            "MODERN_URL": urls["modern"],
        }
        self.through = {
            **common,
            "DEFAULT_URL": through["legacy"],
            "MODERN_URL": through["modern"],
        }

    # Processes

    def start_mover(self, point: str = "") -> subprocess.Popen[bytes]:
        """One more; with a point, it meets its fate there."""
        environment = {**self.through, "TORTURE_POINT": point}
        with (self.logs / "movers.log").open("ab") as log:
            mover = subprocess.Popen(
                [sys.executable, "-m", "django", "strangler_moves", "run", NAME],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started(mover)
        self.movers.append(mover)
        return mover

    def _started(self, process: subprocess.Popen[Any]) -> None:
        self._all.append(process)
        self._remember(process.pid)  # It does not outlive the harness.

    def fill(self) -> None:
        """Replace movers that are gone."""
        self.movers = [each for each in self.movers if each.poll() is None]
        while len(self.movers) < MOVERS:
            self.start_mover()

    def connections_of_movers(self, side: str) -> int:
        """How many there are, as soon as there are any."""
        return wait_for(lambda: self.proxies[side].connections)

    def kill(self, process: subprocess.Popen[Any]) -> None:
        if process.poll() is None:
            process.kill()
            process.wait()
            self.kills += 1

    def spawn(self, *verb: str, point: str = "") -> subprocess.Popen[str]:
        """The command, with what it says for whoever waits for it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "strangler_moves", *verb],
            env={**self.direct, "TORTURE_POINT": point},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started(process)
        return process

    def command(self, *verb: str, patience: float = 200) -> tuple[int, str]:
        """Its exit status, and what it said."""
        process = self.spawn(*verb)
        said, _ = process.communicate(timeout=patience)
        with (self.logs / "commands.log").open("a") as log:
            log.write(f"$ {' '.join(verb)}\n{said}")
        return process.returncode, said

    def must(self, *verb: str) -> str:
        """The command succeeds, within some tries."""
        for _ in range(20):
            status, said = self.command(*verb)
            if status == 0:
                return said
            time.sleep(1)
        raise AssertionError(f"strangler_moves {' '.join(verb)} ended with: {said}")

    # Writers

    def start_writers(self, seed: int, pause: float, kinds: Sequence[str]) -> None:
        with (self.logs / "writers.log").open("ab") as log:
            self.writers = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.torture.moves.writers"),
                    *(str(self.logs), str(seed), str(pause), *kinds),
                ],
                env=self.direct,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._started(self.writers)
        self._hear("ready")

    def tell_writers(self, word: str) -> None:
        """``hold``, ``go`` or ``stop``; all of them have heard it."""
        assert self.writers is not None
        assert self.writers.stdin is not None
        self.writers.stdin.write(f"{word}\n")
        self.writers.stdin.flush()
        self._hear(word)

    def _hear(self, word: str) -> None:
        assert self.writers is not None
        assert self.writers.stdout is not None
        said = self.writers.stdout.readline().strip()
        assert said == word, f"Writers said {said!r}: see {self.logs / 'writers.log'}"

    def lines(self) -> list[ledger.Line]:
        return list(ledger.read(self.logs))

    # How the move is, asked past it

    def query(self, side: str, sql: str) -> list[dict[str, Any]]:
        return judge.query(self.urls[side], sql)

    def stage_of_move(self) -> str:
        rows = self.query("legacy", "SELECT stage FROM strangler_moves_movestate")
        return str(rows[0]["stage"]) if rows else ""

    def goal(self) -> str:
        rows = self.query("legacy", "SELECT goal FROM strangler_moves_movestate")
        return str(rows[0]["goal"])

    def primary(self) -> str:
        """The side that was opened last."""
        opened = {
            side: self.query(side, "SELECT opened FROM strangler_moves_side")[0]
            for side in SIDES
        }
        return max(SIDES, key=lambda side: opened[side]["opened"])

    def is_closed(self, side: str) -> bool:
        return bool(
            self.query(side, "SELECT closed FROM strangler_moves_gate")[0]["closed"]
        )

    def marks(self) -> int:
        sql = "SELECT COUNT(*) AS n FROM strangler_moves_mark"
        return int(self.query(self.primary(), sql)[0]["n"])

    def copied(self) -> int:
        rows = self.query("legacy", "SELECT progress FROM strangler_moves_movestate")
        numbers = re.findall(r'"rows": (\d+)', _text(rows[0]["progress"]))
        return sum(map(int, numbers))

    def wait(self, condition: Callable[[], Any], seconds: float = 180) -> None:
        def is_so() -> bool:
            self.fill()
            return bool(condition())

        wait_for(is_so, seconds, interval=0.1, ignoring=(Exception,))

    def close(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                processes.kill_tree(process.pid)
                process.wait()
        for proxy in self.proxies.values():
            proxy.close()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextlib.contextmanager
def staged(
    pair: tuple[str, str], logs: Path, *, rows: int, mutant: str, is_calm: bool
) -> Iterator[Stage]:
    """Start both servers and fill the first; in the end, only logs are left."""
    from django.db import connections

    from . import models

    services = Services()
    databases = Databases(services)
    with contextlib.ExitStack() as stack:
        stack.callback(services.close)
        stack.callback(databases.close)
        servers, urls = {}, {}
        for side, kind in zip(SIDES, pair, strict=True):
            servers[side] = services.start_private(KINDS[kind])
            alias = stack.enter_context(databases.fresh(servers[side]))
            models.create_tables(connections[alias])
            if side == "legacy":
                models.fill(alias, rows)
            urls[side] = database_url(alias)
        stage = Stage(
            servers,
            urls,
            logs,
            mutant=mutant,
            is_calm=is_calm,
            remember=services.run.remember,
        )
        stack.callback(stage.close)
        yield stage
