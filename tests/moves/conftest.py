"""Two databases of each pair, with payments, and moves that are gone after a test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections, router, transaction
from payments.models import Payment
from users.models import User

from django_strangler.evidence.counts import counts
from django_strangler.holding import Hold
from django_strangler.moves import (
    Move,
    Table,
    beginning,
    capturing,
    declaring,
    using,
    verification,
)
from django_strangler.moves.directions import direction_of
from django_strangler.moves.exceptions import Busy
from django_strangler.moves.models import MoveState
from django_strangler.moves.mover import Mover
from django_strangler.moves.sides import DatabaseSide, side_of
from django_strangler.moves.switching import Switch
from django_strangler.moves.working import hold_of
from tests.services.plugin import needed
from tests.services.services import KINDS
from tests.waiting import wait_for

PAIRS = {
    "postgresql": ("postgresql", "postgresql"),
    "mariadb": ("mariadb", "mariadb"),
    "postgresql-mariadb": ("postgresql", "mariadb"),
    "mariadb-postgresql": ("mariadb", "postgresql"),
    "sqlite": ("sqlite", "sqlite"),
}
TABLES = (Table("payments.Payment"), Table("payments.Refund"))


@pytest.fixture(autouse=True)
def nothing_moves(monkeypatch) -> Iterator[None]:
    # No thread of its own writes evidence where a test's database was.
    monkeypatch.setattr(counts, "wake", lambda: True)
    counts.restart()
    known = (declaring.registry, capturing.captures)
    before = [dict(each) for each in known]
    for each in known:
        each.clear()
    using.known.forget()
    yield
    for each, values in zip(known, before, strict=True):
        each.clear()
        each.update(values)
    counts.restart()
    using.known.forget()


class Pair:
    """A move between two fresh databases, and what a test does with it."""

    def __init__(self, legacy: str, modern: str, **more: Any) -> None:
        values = {
            "name": "payments",
            "source": legacy,
            "target": modern,
            "tables": TABLES,
        }
        self.legacy, self.modern = legacy, modern
        self.move: type[Move] = type("Payments", (Move,), {**values, **more})

    def start(self) -> None:
        beginning.start(self.move)
        # Not to wait until each process would know of it.
        self.state().update(started_at="2020-01-01 00:00:00+00:00")
        using.known.forget()

    def state(self) -> Any:
        return MoveState.objects.using(self.legacy).filter(name=self.move.name)

    def follow(self, until: Callable[[], bool] | None = None) -> Mover:
        """Let a mover work until everything is copied and no mark is left."""
        mover = Mover(self.move)
        deadline = time.monotonic() + 120
        while not (until or self.is_quiet)():
            assert time.monotonic() < deadline, self.state().values()
            time.sleep(min(mover.step(), 0.02))
        mover.leave()
        return mover

    def is_quiet(self) -> bool:
        return self.state().get().stage != "copying" and not direction_of(
            self.move
        ).source.marks(1)

    def verify(self, **options: Any) -> int:
        return verification.verify(self.move, **options).differing

    def switch(self, goal: str) -> float:
        closed = Switch(self.move, goal).run()
        using.known.forget()
        return closed

    def rows(self, alias: str, table: str = "payments_payment") -> list[tuple]:
        """As Django sees them, whatever kind of database it is."""
        model = {"payments_payment": Payment}.get(table)
        if model is None:
            from payments.models import Refund as model
        return list(model.objects.using(alias).order_by("pk").values_list())

    def assert_equal(self) -> None:
        for table in ("payments_payment", "payments_refund"):
            assert self.rows(self.legacy, table) == self.rows(self.modern, table)


def attend(name: str, source: str) -> Hold:
    """As if a mover lived that follows it; no other one works meanwhile."""
    hold = hold_of(name, source, length=600)
    hold.join()
    return hold


def drop_foreign_keys(side: DatabaseSide) -> None:
    """Those that tie payments to what is not moved."""
    moved = {"payments_payment", "payments_refund"}
    for each in side.foreign_keys():
        if (each.table in moved) != (each.parent in moved):
            drop(side, each.table, each.name)


def drop(side: DatabaseSide, table: str, name: str) -> None:
    what = "CONSTRAINT" if side.kind == "postgresql" else "FOREIGN KEY"
    side.run(f"ALTER TABLE {table} DROP {what} {side.quote(name)}")


MakePair = Callable[..., Pair]


@pytest.fixture(scope="module")
def open_pairs(databases, django_db_blocker) -> Iterator[dict[str, tuple[str, str]]]:
    """By kind: two databases that the tests of a file use one after the other."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())

        class Pairs(dict[str, tuple[str, str]]):
            def __missing__(self, kind: str) -> tuple[str, str]:
                legacy, modern = (
                    stack.enter_context(databases.fresh(each)) for each in PAIRS[kind]
                )
                for alias in (legacy, modern):
                    side = side_of("payments", alias)
                    if side.kind == "sqlite":
                        side.run("PRAGMA foreign_keys = OFF")
                    else:
                        drop_foreign_keys(side)
                self[kind] = legacy, modern
                return legacy, modern

        yield Pairs()


@pytest.fixture
def make_pair(request, open_pairs, monkeypatch) -> MakePair:
    def make(kind: str, **more: Any) -> Pair:
        name = KINDS[kind.partition("-")[0]].name if kind != "sqlite" else "SQLite"
        with needed(name, request):
            legacy, modern = open_pairs[kind]
        monkeypatch.setattr(router, "db_for_write", lambda model, **hints: legacy)
        monkeypatch.setattr(router, "db_for_read", lambda model, **hints: legacy)
        for alias in (legacy, modern):
            empty(side_of("payments", alias))
        users = User.objects.using(legacy)
        users.bulk_create([User(pk=1, username="ada")])
        return Pair(legacy, modern, **more)

    return make


def empty(side: DatabaseSide) -> None:
    """As if nothing had been there."""
    for table in ("payments_refund", "payments_payment"):
        # The session of a process that was killed may still be on its way out.
        wait_for(lambda table=table: side.uninstall(table) is None, ignoring=(Busy,))
    for table in (
        "notifications_notificationpreference",
        *("payments_refund", "payments_payment", "users_user", "strangler_outboxevent"),
        *("strangler_relayprocess", "strangler_lane", "strangler_moves_copied"),
        *("strangler_moves_gate", "strangler_moves_side", "strangler_moves_mark"),
        *("strangler_moves_movestate", "strangler_moves_mover"),
        *(
            "strangler_moves_difference",
            "strangler_incident",
            "strangler_guard",
            "strangler_evidencecount",
        ),
    ):
        side.run(f"DELETE FROM {table}")


@pytest.fixture(params=PAIRS)
def pair(request, make_pair) -> Pair:
    """Each pair of databases in turn, with a user and 50 payments."""
    pair = make_pair(request.param)
    pay(pair.legacy, 50)
    return pair


@pytest.fixture(params=["postgresql", "mariadb"])
def one_kind(request, make_pair) -> Pair:
    """Those with servers, on one kind."""
    pair = make_pair(request.param)
    pay(pair.legacy, 50)
    return pair


def pay(alias: str, number: int, **more: Any) -> list[int]:
    """Payments of one user; says their keys."""
    made = []
    with transaction.atomic(using=alias):
        for _ in range(number):
            payment = Payment(user_id=1, amount="12.50", **more)
            payment.save(using=alias)
            made.append(payment.pk)
    return made


def run(alias: str, sql: str, *params: Any) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params or None)
