"""Four other processes, two of them forked after their first check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_strangler import feature_flags
from tests.services.databases import database_url

ROOT = Path(__file__).parents[2]
REFRESH = 1.0

# Checks all the time; prints each new answer with the time at which the last check
# began that still gave the old one. When the new one comes would be the wrong measure:
# on a busy machine it tells how long the process had to wait for a core. The parent of
# the forked ones has checked before, as a server does that loads the application first.
PROGRAM = """
import json, os, sys, time
import django
django.setup()
from django_strangler import feature_flags

def report(number):
    last, last_began = None, 0.0
    while os.getppid() == parent:
        began = time.time()
        answer = feature_flags.is_enabled("kill-switch", 1)
        if answer != last:
            os.write(1, (json.dumps([number, answer, last_began]) + "\\n").encode())
            last = answer
        last_began = began
        time.sleep(0.005)

forks = int(sys.argv[1])
parent = os.getppid()
if not forks:
    report(os.getpid())
else:
    feature_flags.is_enabled("kill-switch", 1)
    children = []
    for number in range(forks):
        me, child = os.getpid(), os.fork()
        if not child:
            parent = me
            report(os.getpid())
            os._exit(0)
        children.append(child)
    sys.stdin.read()
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
"""


class Watchers:
    """Processes that check, and what they report."""

    def __init__(self, url: str) -> None:
        self.read, write = os.pipe()
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'testproject'}",
        }
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, forks],
                stdin=subprocess.PIPE,
                stdout=write,
                env=environment,
            )
            for forks in ("0", "0", "2")
        ]
        os.close(write)
        self.reports = os.fdopen(self.read)

    def answers(self, count: int) -> list[tuple[int, bool, float]]:
        """The next reports; pytest's own timeout is the subprocess's end."""
        return [tuple(json.loads(self.reports.readline())) for _ in range(count)]

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes[:2]:
            process.kill()
        for process in self.processes:
            process.wait(60)
        self.reports.close()


@pytest.fixture
def watchers(flag_db: str) -> Iterator[Watchers]:
    feature_flags.set_rollout("kill-switch", 100)
    watchers = Watchers(database_url(flag_db))
    yield watchers
    watchers.close()


@pytest.mark.slow
def test_a_change_is_seen_by_four_other_processes_in_time(watchers: Watchers):
    first = watchers.answers(4)
    assert {answer for _, answer, _ in first} == {True}
    assert len({number for number, _, _ in first}) == 4

    for percentage in (0, 100, 0):
        feature_flags.set_rollout("kill-switch", percentage)
        done = time.time()

        seen = watchers.answers(4)

        assert {number for number, _, _ in seen} == {number for number, _, _ in first}
        for _, answer, last_old_answer in seen:
            assert answer is (percentage == 100)
            assert last_old_answer <= done + REFRESH + 0.2
