"""The registry of what a process counts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from django_strangler import counting


@pytest.fixture
def name() -> Iterator[str]:
    yield "lab_things"
    counting.forget("lab_things")


def test_a_counter_without_labels_begins_at_nothing(name):
    things = counting.counter(name, "Things.")

    assert things.values() == {(): 0}
    things.add()
    things.add(n=4)
    assert things.values() == {(): 5}


def test_a_counter_counts_by_its_labels(name):
    calls = counting.counter(name, "Calls.", labels=("subscriber", "outcome"))

    calls.add("receipts", "handled")
    calls.add("receipts", "handled", n=2)
    calls.add("mails", "failed")

    assert calls.values() == {("receipts", "handled"): 3, ("mails", "failed"): 1}


def test_a_metric_is_found_under_its_name_and_declared_once(name):
    things = counting.counter(name, "Things.")

    assert counting.registered()[name] is things
    with pytest.raises(ValueError, match="There is a metric 'lab_things' already"):
        counting.counter(name, "Other things.")


def test_labels_that_somebody_makes_up_are_bounded(name):
    calls = counting.counter(name, "Calls.", labels=("path",))

    for number in range(counting.MOST + 500):
        calls.add(f"/{number}")
    calls.add("/1")

    values = calls.values()
    assert len(values) == counting.MOST + 1
    assert values["others",] == 500
    assert values["/1",] == 2


def test_no_count_is_lost_between_threads(name):
    things = counting.counter(name, "Things.", labels=("kind",))
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5_000):
            things.add("a")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert things.values() == {("a",): 20_000}


def test_what_a_thread_counted_stays_when_it_has_ended(name):
    things = counting.counter(name, "Things.", labels=("kind",))

    for _ in range(50):
        thread = threading.Thread(target=lambda: things.add("a", n=2))
        thread.start()
        thread.join()

    assert things.values() == {("a",): 100}
    assert len(things._parts) <= 2


def test_a_gauge_is_read_when_it_is_asked(name):
    now = {("bank",): 1.0}
    open_ = counting.gauge(name, "Open.", labels=("service",), read=lambda: now)

    now["post",] = 0.0

    assert open_.values() == {("bank",): 1.0, ("post",): 0.0}


def test_a_histogram_counts_into_buckets_up_to_their_limits(name):
    seconds = counting.histogram(name, "Seconds.", ("route",), buckets=(0.1, 1.0))

    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.observe("payments", value)

    assert seconds.values() == {("payments",): ((2, 1, 1), pytest.approx(7.65))}


def test_a_histogram_without_labels_begins_empty(name):
    seconds = counting.histogram(name, "Seconds.", buckets=(1.0,))

    assert seconds.values() == {(): ((0, 0), 0.0)}
    seconds.observe(0.5)
    assert seconds.values() == {(): ((1, 0), 0.5)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_a_process_forked_while_another_thread_counts_can_count(name):
    things = counting.counter(name, "Things.")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with things._lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if not child:
        things.add()
        os._exit(0 if things.values() == {(): 1} else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 0
