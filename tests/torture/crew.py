"""The processes under torture: publishers, relays and consumers, replaced when gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.services import processes

ROOT = Path(__file__).parents[2]
LEASE = 2.0
PUBLISHERS, CONSUMERS = 3, 2
# Small, so that the bound on duplicates is tight.
WINDOWS = (30, 60, 120)
WINDOW = 60  # Of whoever is not told another one.
QUEUE = "torture-effects"
RETRY_DELAYS = ("0.5", "1", "2", "5")


@dataclass(eq=False)
class Member:
    """A process in a place that is filled again when it is gone."""

    role: str
    place: int
    process: subprocess.Popen[bytes]
    window: int = 0

    @property
    def name(self) -> str:
        """As a relay calls itself in the database."""
        return f"{socket.gethostname()}:{self.process.pid}"

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def freeze(self) -> None:
        processes.freeze(self.process.pid)

    def thaw(self) -> None:
        if self.lives:
            processes.thaw(self.process.pid)

    def kill(self) -> None:
        processes.kill_tree(self.process.pid)
        self.process.wait()

    def stop(self) -> None:
        """Politely."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


class Crew:
    """Who works, and with which settings: one environment for each place."""

    def __init__(
        self,
        environments: Mapping[tuple[str, int], Mapping[str, str]],
        logs: Path,
        seed: int,
        rate: float,
    ) -> None:
        self.members: list[Member] = []
        self.windows: dict[str, int] = {}  # By name, of all relays there ever were.
        self.publishing = True
        self._environments, self._logs = environments, logs
        self._seed, self._rate = seed, rate
        self._started = 0

    def of(self, role: str) -> list[Member]:
        return [each for each in self.members if each.role == role and each.lives]

    def fill(self) -> None:
        """Replace whoever is gone."""
        self.members = [each for each in self.members if each.lives]
        wanted = {"relay": len(WINDOWS), "consumer": CONSUMERS}
        wanted["publisher"] = PUBLISHERS if self.publishing else 0
        for role, count in wanted.items():
            taken = {each.place for each in self.members if each.role == role}
            for place in set(range(count)) - taken:
                self.members.append(self._start(role, place))

    def start(self, role: str, place: int, *arguments: str) -> Member:
        """One more, for a while."""
        member = self._start(role, place, *arguments)
        self.members.append(member)
        return member

    def dismiss(self, role: str) -> None:
        """End all of these without ceremony."""
        for each in self.of(role):
            each.kill()

    def close(self) -> None:
        for each in self.members:
            if each.lives:
                each.kill()

    def run(self, *arguments: str, place: tuple[str, int] = ("relay", 0)) -> str:
        """A management command; what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=self._environment(place),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
        )
        return done.stdout + done.stderr

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """A management command that goes on meanwhile."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment(("relay", 0)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _environment(self, place: tuple[str, int]) -> dict[str, str]:
        own = self._environments.get(place) or self._environments[place[0], 0]
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.torture.settings",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
            **own,
        }

    def _start(self, role: str, place: int, *arguments: str) -> Member:
        self._started += 1
        window = WINDOWS[place % len(WINDOWS)] if role == "relay" else 0
        commands = {
            "publisher": (
                "tests.torture.publisher",
                str(self._seed * 1000 + self._started),
                str(self._rate / PUBLISHERS),
            ),
            "relay": (
                *("django", "drain_outbox", "--window", str(window)),
                *("--lease", str(LEASE), *arguments),
            ),
            "consumer": (
                *("django", "consume_events", "--queue", QUEUE, "--no-declare"),
                *("--retry-delays", *RETRY_DELAYS),
            ),
        }
        with (self._logs / f"{role}-{place}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *commands[role]],
                env=self._environment((role, place)),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        member = Member(role, place, process, window)
        if role == "relay":
            self.windows[member.name] = window
        return member
