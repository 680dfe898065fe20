"""Movers and switches that are killed, and writers who go on meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import F
from payments.models import Payment, Refund

from django_strangler.databases import is_transient
from django_strangler.moves import atomic, using
from django_strangler.moves.conf import settings
from django_strangler.moves.directions import direction_of
from django_strangler.moves.models import Mover as MoverRow
from django_strangler.moves.mover import run as run_movers
from django_strangler.moves.sides import side_of
from tests.services.databases import database_url
from tests.waiting import wait_for

from .conftest import Pair, pay, run
from .die import POINTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def patient(settings: Any) -> None:
    """Who waits for a process that has only begun to start, does not give up."""
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": {"WAIT": 90.0, "LAG": 300.0}}


class Processes:
    """Commands in processes of their own, on the databases of a pair."""

    def __init__(self, pair: Pair) -> None:
        self._env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "testproject")]),
            "DJANGO_SETTINGS_MODULE": "tests.moves.settings",
            "LEGACY_URL": database_url(pair.legacy),
            "MODERN_URL": database_url(pair.modern),
        }
        self._running: list[subprocess.Popen] = []

    def start(self, *arguments: str, module: str = "django") -> subprocess.Popen:
        verb = ["strangler_moves"] if module == "django" else []
        process = subprocess.Popen(
            [sys.executable, "-m", module, *verb, *arguments],
            env=self._env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def processes() -> Iterator:
    made: list[Processes] = []

    def on(pair: Pair) -> Processes:
        made.append(Processes(pair))
        return made[-1]

    yield on
    for each in made:
        each.close()


class Writers:
    """Threads that write in moves.atomic, and a ledger of what they committed."""

    def __init__(self, hot: list[int], number: int = 3) -> None:
        self._hot = hot
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.increments: dict[int, int] = {}
        self.created: set[str] = set()
        self.errors: list[BaseException] = []
        self.waits: list[float] = []
        self._threads = [
            threading.Thread(target=self._run, args=[n]) for n in range(number)
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    self._write(chance, began)
                except Exception as error:
                    if not is_transient(error):
                        raise
                time.sleep(0.004)
        except BaseException as error:  # noqa: BLE001
            self.errors.append(error)
        finally:
            for alias in list(connections):
                if alias in connections.databases and alias != "default":
                    connections[alias].close()

    def _write(self, chance: random.Random, began: float) -> None:
        hot = chance.choice(self._hot)
        reference = f"{chance.random()}"
        with atomic("payments") as alias:
            waited = time.monotonic() - began
            rows = Payment.objects.using(alias)
            rows.filter(pk=hot).update(amount=F("amount") + 1)
            made = Payment(user_id=1, amount=1, reference=reference)
            made.save(using=alias)
            if chance.random() < 0.3:
                Refund(payment_id=made.pk, amount=1).save(using=alias)
            if undone := chance.random() < 0.1:
                transaction.set_rollback(True, using=alias)
        if undone:
            return
        with self._lock:
            self.waits.append(waited)
            self.increments[hot] = self.increments.get(hot, 0) + 1
            self.created.add(reference)

    def assert_kept(self, alias: str) -> None:
        assert not self.errors, self.errors
        rows = dict(Payment.objects.using(alias).values_list("pk", "amount"))
        assert {pk: rows[pk] for pk in self._hot} == {
            pk: 12.5 + self.increments.get(pk, 0) for pk in self._hot
        }
        found = Payment.objects.using(alias).values_list("reference", flat=True)
        assert self.created <= set(found)


def test_two_movers_that_are_killed_again_and_again_lose_nothing(one_kind, processes):
    pair, hot = one_kind, pay(one_kind.legacy, 5)
    pay(pair.legacy, 300)
    pair.start()
    commands = processes(pair)
    there = Payment.objects.using(pair.modern)
    with Writers(hot) as writers:
        for _ in range(3):
            before = there.count()
            movers = [commands.start("run", "payments") for _ in range(2)]
            # In the midst of it: what the writers add arrives again.
            wait_for(lambda before=before: there.count() > before, 120)
            for each in movers:
                each.send_signal(signal.SIGKILL)
                each.wait()

    pair.follow()
    pair.assert_equal()
    writers.assert_kept(pair.modern)
    assert pair.verify() == 0


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_switch_that_dies_is_ended_by_a_mover(one_kind, processes, point):
    pair, hot = one_kind, pay(one_kind.legacy, 5)
    pair.start()
    pair.follow()
    assert pair.verify() == 0
    commands = processes(pair)
    with Writers(hot) as writers:
        wait_for(lambda: len(writers.waits) > 10)
        died = commands.start(
            point, "switch", "payments", "--to", "modern", module="tests.moves.die"
        )
        died.wait(120)
        assert died.returncode == 9, died.stdout.read()
        if point in ("locked", "read", "written", "committed"):
            # Before anything was closed; whoever wants to switch says it again.
            commands.start("switch", "payments", "--to", "modern").wait(120)
        pair.follow(lambda: pair.state().get().stage == "following back")
        using.known.forget()
        at = len(writers.waits)
        wait_for(lambda: len(writers.waits) > at + 20)

    pair.follow()
    pair.assert_equal()
    writers.assert_kept(pair.modern)
    assert max(writers.waits) < 30
    pair.verify()
    pair.switch("legacy")
    writers.assert_kept(pair.legacy)


def test_a_long_transaction_delays_the_switch_and_nobody_else(one_kind, monkeypatch):
    pair, (slow, *hot) = one_kind, pay(one_kind.legacy, 6)
    pair.start()
    pair.follow()
    pair.verify()
    entered, leave = threading.Event(), threading.Event()
    side = type(side_of("payments", pair.legacy))
    close, asked, went_on = side.close, [], []

    def closing(self: object, timeout: float) -> int:
        asked.append(timeout)
        return close(self, timeout)

    monkeypatch.setattr(side, "close", closing)

    def long() -> None:
        with atomic("payments") as alias:
            Payment.objects.using(alias).filter(pk=slow).update(status="failed")
            entered.set()
            leave.wait(300)
        connections[alias].close()

    thread = threading.Thread(target=long)
    thread.start()
    assert entered.wait(60)
    with Writers(hot) as writers:
        wait_for(lambda: len(writers.waits) > 20)

        def let_go() -> None:
            try:
                # It has queued for the lock, given up, and queued once more.
                wait_for(lambda: sum(map(bool, asked)) >= 2, 60)
                at = len(writers.waits)
                wait_for(lambda: len(writers.waits) > at + 20, 60)
                went_on.append(True)
            finally:
                leave.set()

        letting = threading.Thread(target=let_go)
        letting.start()
        pair.switch("modern")
        letting.join()
        assert went_on
        assert max(asked) <= settings().lock
        thread.join()
        at = len(writers.waits)
        wait_for(lambda: len(writers.waits) > at + 20)

    pair.follow()
    pair.assert_equal()
    writers.assert_kept(pair.modern)
    assert Payment.objects.using(pair.modern).get(pk=slow).status == "failed"


def test_a_writer_under_an_old_snapshot_cannot_write_past_a_switch(make_pair):
    pair = make_pair("postgresql")
    pay(pair.legacy, 2)
    pair.start()
    pair.follow()
    pair.verify()
    begun, switched, seen = threading.Event(), threading.Event(), []

    def old() -> None:
        try:
            with transaction.atomic(using=pair.legacy):
                with connections[pair.legacy].cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    cursor.execute("SELECT count(*) FROM users_user")
                begun.set()
                switched.wait(120)
                Payment.objects.using(pair.legacy).update(status="failed")
        except Exception as error:  # noqa: BLE001
            seen.append(error)
        finally:
            connections[pair.legacy].close()

    thread = threading.Thread(target=old)
    thread.start()
    assert begun.wait(60)
    pair.switch("modern")
    switched.set()
    thread.join()

    assert len(seen) == 1
    assert not Payment.objects.using(pair.legacy).filter(status="failed").exists()


def test_a_snapshot_from_before_the_start_is_told_to_try_again(make_pair):
    pair = make_pair("postgresql")
    pay(pair.legacy, 2)
    begun, started, seen = threading.Event(), threading.Event(), []

    def old() -> None:
        try:
            with transaction.atomic(using=pair.legacy):
                with connections[pair.legacy].cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    cursor.execute("SELECT count(*) FROM users_user")
                begun.set()
                started.wait(120)
                Payment.objects.using(pair.legacy).update(status="failed")
        except Exception as error:  # noqa: BLE001
            seen.append(error)
        finally:
            connections[pair.legacy].close()

    thread = threading.Thread(target=old)
    thread.start()
    assert begun.wait(60)
    pair.start()
    started.set()
    thread.join()

    assert [is_transient(each) for each in seen] == [True], seen


def test_a_frozen_mover_that_wakes_after_a_switch_writes_nothing(one_kind, processes):
    pair, hot = one_kind, pay(one_kind.legacy, 2)
    pair.start()
    commands = processes(pair)
    mover = commands.start("run", "payments")
    wait_for(lambda: pair.state().get().stage == "following", 120)
    mover.send_signal(signal.SIGSTOP)
    pair.follow()
    pair.verify()
    pair.switch("modern")
    with atomic("payments") as alias:
        Payment.objects.using(alias).filter(pk=hot[0]).update(amount=99)

    mover.send_signal(signal.SIGCONT)

    wait_for(lambda: Payment.objects.using(pair.legacy).get(pk=hot[0]).amount == 99, 90)
    assert Payment.objects.using(pair.modern).get(pk=hot[0]).amount == 99
    assert direction_of(pair.move).primary == "modern"


def test_a_connection_that_breaks_while_rows_are_copied_is_a_database_error(make_pair):
    pair = make_pair("postgresql")
    pay(pair.legacy, 200)
    pair.start()
    side = side_of("payments", pair.modern)

    class Rows(list):
        def __iter__(self):
            for number, row in enumerate(super().__iter__()):
                if number == 100:
                    run(pair.legacy, f"SELECT pg_terminate_backend({pids[0]})")
                yield row

    way = direction_of(pair.move).ways["payments.payment"]
    rows = way.source.rows_after(way.name, way.read, way.key, None, 200)
    pids = side.fetch("SELECT pg_backend_pid()")[0]
    with pytest.raises(OperationalError), side.writing():
        side.write(way.into, way.written, way.key_there, Rows(rows))
    connections[pair.modern].close()


def test_a_mover_whose_connection_breaks_goes_on_at_once(make_pair):
    pair = make_pair("postgresql")
    pay(pair.legacy, 5)
    pair.start()
    stop = threading.Event()

    def work() -> None:
        run_movers(stop, "payments")
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for(pair.is_quiet)
        run(
            pair.modern,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        pay(pair.legacy, 5)
        wait_for(lambda: len(pair.rows(pair.modern)) == 10)
        assert MoverRow.objects.using(pair.legacy).count() == 1
    finally:
        stop.set()
        thread.join()
