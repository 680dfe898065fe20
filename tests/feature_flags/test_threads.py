"""Threads that check while the flag changes: no answer that was not true just then."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, sleep

import pytest
from django.db import connections, transaction

from django_strangler import feature_flags
from django_strangler.feature_flags import snapshot

THREADS = 8
CHECKS = 10_000
CHANGES = 200


@pytest.mark.slow
@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
def test_every_answer_was_true_at_some_moment_of_its_window(source, make_db, route):
    flag_db = route(make_db(source))
    feature_flags.set_rollout("switch", 0)
    begun = [threading.Event() for _ in range(CHANGES)]

    def check(number: int) -> list[tuple[float, float, bool]]:
        try:
            seen = []
            for change in begun:
                # So many during each change, and none when all of them are over.
                change.wait(60)
                for _ in range(CHECKS // CHANGES):
                    start = perf_counter()
                    answer = feature_flags.is_enabled("switch", number)
                    seen.append((start, perf_counter(), answer))
                    sleep(0)  # Lets the other threads have the interpreter.
            return seen
        finally:
            connections[flag_db].close()

    def change() -> list[tuple[float, float]]:
        """When each change began and was over; the first one switches on."""
        try:
            made = []
            for number in range(CHANGES):
                begun[number].set()
                start = perf_counter()
                feature_flags.set_rollout("switch", 100 * (1 - number % 2))
                made.append((start, perf_counter()))
            return made
        finally:
            for each in begun:
                each.set()
            connections[flag_db].close()

    with ThreadPoolExecutor(THREADS + 1) as pool:
        checks = [pool.submit(check, number) for number in range(THREADS)]
        changes = pool.submit(change).result()
        answers = [answer for each in checks for answer in each.result()]

    assert len(answers) == THREADS * CHECKS == sum(feature_flags.counts().values())
    wrong = [each for each in answers if each[2] not in possible(changes, *each[:2])]
    assert wrong == []
    # It was a test: checks met changes.
    assert {answer for _, _, answer in answers} == {True, False}


def possible(changes, begun, ended) -> set[bool]:
    """
    The answers that were true at some moment between begun and ended.

    A change happens at one moment between its own beginning and end; answers are
    linearizable in this process, so FLAG_REFRESH is not needed as an excuse.
    """
    certain = bisect_right([over for _, over in changes], begun)
    begun_meanwhile = bisect_left([start for start, _ in changes], ended)
    # After n changes the flag is on if n is odd.
    return {number % 2 == 1 for number in range(certain, begun_meanwhile + 1)}


def test_a_look_that_a_change_overtook_is_not_taken_for_the_latest(
    flag_db, monkeypatch
):
    feature_flags.set_rollout("switch", 0)
    read = snapshot._read

    def change() -> None:
        feature_flags.set_rollout("switch", 100)
        connections[flag_db].close()

    def overtaken(*args):
        result = read(*args)
        monkeypatch.setattr(snapshot, "_read", read)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(change).result()
        return result

    monkeypatch.setattr(snapshot, "_read", overtaken)

    assert not feature_flags.is_enabled("switch", 1)  # It began before the change.
    assert feature_flags.is_enabled("switch", 1)


def test_no_check_waits_for_another_threads_look(flag_db, monkeypatch):
    feature_flags.set_rollout("switch", 100)
    assert feature_flags.is_enabled("switch", 1)
    looking, go_on = threading.Event(), threading.Event()
    read = snapshot._read

    def slow(*args):
        looking.set()
        assert go_on.wait(60)
        return read(*args)

    monkeypatch.setattr(snapshot, "_read", slow)
    monkeypatch.setattr(
        snapshot._state,
        "view",
        snapshot.Shared(
            snapshot=snapshot._state.view.snapshot, after=snapshot.last_change.token
        ),
    )

    def look() -> bool:
        try:
            return feature_flags.is_enabled("switch", 1)
        finally:
            connections[flag_db].close()

    with ThreadPoolExecutor(1) as pool:
        looker = pool.submit(look)
        assert looking.wait(60)
        assert feature_flags.is_enabled("switch", 1)
        assert not looker.done()
        go_on.set()
        assert looker.result()


def test_a_transaction_that_changed_flags_is_alone_with_its_change(
    postgresql_db, route
):
    route(postgresql_db)
    feature_flags.set_rollout("switch", 0)

    def elsewhere() -> bool:
        try:
            return feature_flags.is_enabled("switch", 1)
        finally:
            connections[postgresql_db].close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(postgresql_db):
            feature_flags.set_rollout("switch", 100)
            assert feature_flags.is_enabled("switch", 1)
            assert not pool.submit(elsewhere).result()
        assert pool.submit(elsewhere).result()
