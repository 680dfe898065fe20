"""A signal ends a process in time, whatever it is doing just then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import atexit, ctypes, os, signal, sys, threading
from django_strangler.management import stopping

stop = threading.Event()

def ready():
    os.write(1, b"ready\\n")

with stopping.stopped_by_signals(stop, within=float(sys.argv[1])):
"""


@pytest.fixture
def start():
    """start(what it does until it is stopped, …): a process that does so by now."""
    processes = []

    def start(
        *lines: str, after: Sequence[str] = (), within: float = 60
    ) -> subprocess.Popen[bytes]:
        inside = [f"    {line}" for line in lines]
        program = BEGIN + "\n".join([*inside, *after])
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(within)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        processes.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start

    for process in processes:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes], *numbers: signal.Signals) -> float:
    """How long it took to end."""
    asked = time.monotonic()
    for number in numbers:
        process.send_signal(number)
    process.wait(60)  # Where something hangs, it would do so for ever.
    return time.monotonic() - asked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_event(start, number) -> None:
    process = start("ready()", "stop.wait()", "print('stopped')")

    ended(process, number)

    assert process.returncode == 0
    assert process.stdout.read() == b"stopped\n"


def test_a_signal_in_the_middle_of_a_wait_for_the_event_is_no_deadlock(start) -> None:
    # Between the instructions of stop.wait() that hold the event's lock.
    process = start(
        "ready()",
        "with stop._cond:",
        "    signal.raise_signal(signal.SIGTERM)",
        "    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL",
        "stop.wait()",
        "print('stopped')",
    )

    ended(process)

    assert process.returncode == 0
    assert process.stdout.read() == b"stopped\n"


def test_a_second_signal_is_handled_as_usual(start) -> None:
    process = start(
        "ready()",
        "while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL: pass",
        "ready()",
        "threading.Event().wait()",
    )
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == b"ready\n"

    ended(process, signal.SIGTERM)

    assert process.returncode == -signal.SIGTERM


def test_whoever_hangs_in_c_code_that_no_signal_interrupts_is_ended(start) -> None:
    # As a thread does that looks up the name of a host while the name server is away.
    process = start(
        "lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.c_buffer(128)",
        "lock(mutex)",
        "ready()",
        "lock(mutex)",
        within=0.5,
    )

    took = ended(process, signal.SIGTERM)

    assert process.returncode == 0
    assert took > 0.4
    assert b"Something hangs" in process.stdout.read()


def test_whoever_waits_for_the_reader_of_its_output_is_ended(start) -> None:
    process = start("ready()", "while True: print('x' * 65536, flush=True)", within=0.5)

    ended(process, signal.SIGTERM)

    assert process.returncode == 0


def test_what_hangs_while_the_interpreter_ends_is_not_waited_for_long(start) -> None:
    process = start(
        "stopping.AT_EXIT = 0.2",
        "atexit.register(threading.Event().wait)",
        "ready()",
        "stop.wait()",
    )

    ended(process, signal.SIGTERM)

    assert process.returncode == 0


def test_a_process_that_goes_on_with_something_else_is_left_alone(start) -> None:
    process = start(
        "stopping.AT_EXIT = 0.1",
        "ready()",
        "stop.wait()",
        "watch = next(t for t in threading.enumerate() if t.daemon)",
        after=["watch.join()", "print('going on')"],
    )

    ended(process, signal.SIGTERM)

    assert process.returncode == 0
    assert process.stdout.read() == b"going on\n"


def test_an_end_without_a_signal_leaves_everything_as_it_was(start) -> None:
    process = start("ready()")

    ended(process)

    assert process.returncode == 0
    assert process.stdout.read() == b""
