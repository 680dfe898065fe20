"""
Requests through the facade while the service is killed, paused and cut off.

    python -m tests.facade.faults --requests 100000 --faults 40

No request that is not safe may be done twice; every answer is legacy's or modern's; and
only for one that is not safe may there be none, because its outcome is not known.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.services.proxy import Proxy

from . import servers

CLIENTS = 8
UNSAFE = 0.2


@dataclass
class Outcome:
    """What a run has shown."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # Answered well, and never done.
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.twice or self.lost or self.wrong)

    def __str__(self) -> str:
        answers = ", ".join(f"{n} {what}" for what, n in sorted(self.answers.items()))
        faults = ", ".join(f"{n} {what}" for what, n in sorted(self.faults.items()))
        return (
            f"{sum(self.answers.values())} requests in {self.seconds:.0f} s: "
            f"{answers}. Faults: {faults}. Done twice: {len(self.twice)}, lost: "
            f"{len(self.lost)}, wrong answers: {len(self.wrong)} {self.wrong[:3]}."
        )


class Modern:
    """The service as a process, behind a network that can be cut."""

    def __init__(self, log: Path) -> None:
        self.port, self.log = free_port(), log
        self.start()
        self.proxy = Proxy(self.port)

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.facade.faulty_service"]
        self.process = subprocess.Popen(
            [*command, str(self.port), str(self.log)], cwd=ROOT
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        time.sleep(0.3)
        self.start()

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(self.process.pid, signal.SIGCONT)

    def cut(self) -> None:
        self.proxy.cut()

    def refuse(self) -> None:
        self.proxy.refuse()
        time.sleep(0.5)
        self.proxy.heal()

    def black_hole(self) -> None:
        self.proxy.black_hole("down")
        time.sleep(1.0)
        self.proxy.cut()
        self.proxy.heal()

    def close(self) -> None:
        self.proxy.close()
        self.process.kill()
        self.process.wait()


def run(requests: int, faults: int, seed: int, folder: Path) -> Outcome:
    """So many requests, with the faults spread evenly among them."""
    log = folder / "done.log"
    log.touch()
    modern = Modern(log)
    outcome, chance = Outcome(), random.Random(seed)
    numbers = itertools.count()
    lock = threading.Lock()
    done: list[tuple[str, str, int, str, str]] = []
    try:
        url = f"http://127.0.0.1:{modern.proxy.port}"
        options = {"URL": url, "TIMEOUT": 0.5, "MAX_IN_FLIGHT": CLIENTS}
        with servers.gunicorn(
            folder,
            *("--threads=16", "--no-control-socket", "--keep-alive=30"),
            DJANGO_SETTINGS_MODULE="tests.facade.faults_settings",
            STRANGLER=json.dumps({"SERVICES": {"payments": options}}),
            DONE_LOG=str(log),
        ) as port:
            begun = time.monotonic()

            def ask() -> None:
                mine = random.Random(chance.random())
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                while (number := next(numbers)) < requests:
                    method = "POST" if mine.random() < UNSAFE else "GET"
                    path = f"/api/payments/{number}"
                    connection.request(method, path, headers={"Host": "localhost"})
                    response = connection.getresponse()
                    body = response.read().decode()
                    side = response.headers.get("Strangler-Side") or ""
                    with lock:
                        done.append((method, str(number), response.status, side, body))
                connection.close()

            threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
            for thread in threads:
                thread.start()
            kinds = ["kill", "pause", "cut", "refuse", "black_hole"]
            for turn in range(faults):
                wanted = requests * (turn + 0.5) / faults
                while len(done) < wanted and any(each.is_alive() for each in threads):
                    time.sleep(0.005)
                kind = kinds[turn % len(kinds)]
                outcome.faults[kind] += 1
                getattr(modern, kind)()
            for thread in threads:
                thread.join()
            outcome.seconds = time.monotonic() - begun
        time.sleep(0.5)
    finally:
        modern.close()
    judge(outcome, done, log.read_text().splitlines())
    return outcome


def judge(
    outcome: Outcome, done: list[tuple[str, str, int, str, str]], lines: list[str]
) -> None:
    """Compare what was answered with what was done."""
    unsafe: Counter[str] = Counter()
    for line in lines:
        _side, method, number = line.split()
        if method == "POST":
            unsafe[number] += 1
    outcome.twice = [number for number, times in unsafe.items() if times > 1]
    for method, number, status, side, body in done:
        if status == 200:
            outcome.answers[f"by {side}"] += 1
            if body != side:
                outcome.wrong.append(f"{method} {number}: {side} said {body[:50]}")
            if method == "POST" and not unsafe[number]:
                outcome.lost.append(number)
        elif method == "POST" and status in (502, 504):
            outcome.answers["of unknown outcome"] += 1
        else:
            outcome.answers["wrong"] += 1
            outcome.wrong.append(f"{method} {number}: {status}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["DATABASE_PATH"] = str(folder / "db.sqlite3")
        os.environ["DATABASE_URL"] = ""
        outcome = run(given.requests, given.faults, given.seed, folder)
    print(outcome)
    sys.exit(0 if outcome.is_good else 1)


if __name__ == "__main__":
    main()
