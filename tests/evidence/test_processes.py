"""The thread that writes, in real processes: forked, preloaded, and of a pool."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db.models import Sum

from django_strangler.models import EvidenceCount, Flag
from tests.end_to_end.processes import process
from tests.relay.processes import ROOT, environment
from tests.services.ports import free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

PROLOGUE = """
import os, sys, time
import django; django.setup()
from django_strangler import evidence, feature_flags

def note(number, **more):
    for _ in range(number):
        evidence.note("route:a", **more)
"""


@pytest.fixture
def run(postgresql_db: str, tmp_path: Path) -> Callable[[str], int]:
    """run(program): in a process of its own; how it ended."""

    def run(program: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", PROLOGUE + program],
            env=environment(postgresql_db, tmp_path),
            cwd=ROOT,
            timeout=200,
        ).returncode

    return run


def counted(alias: str, source: str = "route:a") -> list[int]:
    """By process, the least first."""
    rows = EvidenceCount.objects.using(alias).exclude(process="")
    by_process = rows.filter(source=source).values_list("process")
    return sorted(total for _, total in by_process.annotate(total=Sum("checked")))


def in_all(alias: str, source: str = "route:a") -> int:
    days = EvidenceCount.objects.using(alias).filter(process="", source=source)
    return days.aggregate(total=Sum("checked"))["total"] or 0


def test_a_process_that_ends_in_order_loses_nothing(postgresql_db: str, run):
    assert run("note(7)") == 0

    assert counted(postgresql_db) == [7]


def test_a_process_that_just_dies_loses_its_last_second_and_no_more(
    postgresql_db: str, run
):
    # What was noted a second ago is written; just then, the thread has been at it.
    run(
        "from django_strangler.models import EvidenceCount\n"
        "from tests.waiting import wait_for\n"
        "note(7)\n"
        'written = EvidenceCount.objects.exclude(process="").filter(checked=7)\n'
        "wait_for(written.exists)\n"
        "note(5)\n"
        "os._exit(1)"
    )

    assert counted(postgresql_db) == [7]


def test_a_fork_counts_for_itself(postgresql_db: str, run):
    program = (
        "note(3)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    note(5)\n"
        "    sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "note(1)\n"
    )

    assert run(program) == 0

    assert counted(postgresql_db) == [4, 5]
    assert in_all(postgresql_db) == 9


def test_a_fork_in_the_midst_of_noting_does_not_hang(postgresql_db: str, run):
    program = (
        "import threading\n"
        "stop = threading.Event()\n"
        "def work():\n"
        "    while not stop.is_set(): note(100)\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "for thread in threads: thread.start()\n"
        "for _ in range(10):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        note(5)\n"
        "        evidence.flush()\n"
        "        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "stop.set()\n"
        "for thread in threads: thread.join()\n"
    )

    assert run(program) == 0

    assert counted(postgresql_db)[:10] == [5] * 10
    assert len(counted(postgresql_db)) == 11


def test_gunicorn_with_preload(postgresql_db: str, tmp_path: Path):
    port = free_port()
    options = ["--preload", "--workers=2", f"--bind=127.0.0.1:{port}"]
    with process(
        [sys.executable, "-m", "gunicorn", "tests.evidence.served", *options],
        tmp_path / "gunicorn.log",
        **environment(postgresql_db, tmp_path),
    ):

        def ask() -> int:
            with contextlib.closing(
                urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60)
            ) as answer:
                return answer.status

        wait_for(lambda: ask() == 200, 90, ignoring=(OSError,))
        for _ in range(40):
            ask()
        # While it runs: neither the arbiter nor a worker waits for its end.
        wait_for(lambda: in_all(postgresql_db, "request:served") == 41)
        wait_for(lambda: in_all(postgresql_db, "import:served") == 1)
        ask()

    # And what was noted last, at its end.
    assert in_all(postgresql_db, "request:served") == 42
    assert counted(postgresql_db, "import:served") == [1]


def test_celery_s_pool_of_processes(postgresql_db: str, tmp_path: Path):
    for folder in ("sent", "queue", "done"):
        (tmp_path / folder).mkdir()
    given = environment(
        postgresql_db,
        tmp_path,
        DJANGO_SETTINGS_MODULE="tests.relay.celery_settings",
        CELERY_FOLDER=str(tmp_path),
    )
    del given["BROKER_URL"]  # The celery command takes that for its own.
    command = [sys.executable, "-m", "celery", "--app", "tests.evidence.served:worker"]
    options = ["--pool=prefork", "--concurrency=2"]
    send = "from tests.evidence.served import work; [work.delay() for _ in range(20)]"
    with process([*command, "worker", *options], tmp_path / "worker.log", **given):
        subprocess.run(
            [sys.executable, "-c", send], env=given, cwd=ROOT, check=True, timeout=200
        )
        for message in sorted((tmp_path / "sent").iterdir()):
            message.rename(tmp_path / "queue" / message.name)

        wait_for(lambda: in_all(postgresql_db, "task:served") == 20, 120)


def test_what_one_process_sees_switches_the_flag_off_in_another(
    postgresql_db: str, tmp_path: Path, run
):
    run(
        'feature_flags.set_rollout("payments-v2", 100)\n'
        'feature_flags.set_guard("payments-v2", on=["route:a"], action="off")'
    )
    asks = (
        'assert feature_flags.is_enabled("payments-v2", 1)\n'
        'print("on", flush=True)\n'
        "from tests.waiting import wait_for\n"
        'wait_for(lambda: not feature_flags.is_enabled("payments-v2", 1), 120)\n'
        'print("off", flush=True)'
    )
    with process(
        [sys.executable, "-c", PROLOGUE + asks],
        tmp_path / "other",
        **environment(postgresql_db, tmp_path),
    ):
        wait_for(lambda: (tmp_path / "other").read_text() == "on\n", 90)

        run("note(20, ok=False)")

        wait_for(lambda: (tmp_path / "other").read_text().endswith("off\n"), 90)
    assert not Flag.objects.using(postgresql_db).get().enabled
