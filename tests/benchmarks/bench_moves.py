"""
What a move costs and how fast it is, beside the loop that one would write by hand.

    python -m tests.benchmarks.bench_moves [--rows 1000000] [--database mariadb]

Bars: copying at 12 times the loop's rate and 20,000 rows/s, verifying at 250,000
rows/s, three wrong rows found and named in 10 s, a marked UPDATE by key for 80 µs more,
and a poll beside 200,000 marks of another move that stands still in 2 ms. The pause at
a switch and the lag are measured by ``python -m tests.torture --moves --calm``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LOOPED = 3000  # Rows that the loop copies.
STUCK = 200_000  # Marks of a move that stands still.
ROUNDS, UPDATES = 8, 300
INDEX = "strangler_moves_of"
TABLE = "torture_moves_account"


class Table:
    """Prints lines, and remembers whether a bar was missed."""

    def __init__(self) -> None:
        self.missed = False

    def line(
        self, what: str, found: float, unit: str, bar: float, *, least: bool = False
    ) -> None:
        is_met = found >= bar if least else found <= bar
        self.missed |= not is_met
        end = f"{'≥' if least else '≤'} {bar:>9,.10g}{'' if is_met else '  MISSED'}"
        print(f"{_cell(what, found, unit)}{end}", flush=True)

    def note(self, what: str, found: float, unit: str) -> None:
        print(_cell(what, found, unit), flush=True)


def _cell(what: str, found: float, unit: str) -> str:
    shown = f"{found:,.0f}" if found >= 100 else f"{found:.3g}"
    return f"  {what:45}{shown:>10} {unit:8}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", choices=["postgresql", "mariadb"])
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.torture.moves.settings"
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    from tests.benchmarks.servers import servers

    table = Table()
    with servers() as (_, databases):
        for kind in ("postgresql", "mariadb"):
            if options.database in (None, kind):
                with databases.fresh(kind) as legacy, databases.fresh(kind) as modern:
                    print(f"{kind}, {options.rows:,} rows", flush=True)
                    Bench(kind, legacy, modern, options.rows, table).run()
    return table.missed


class Bench:
    """One kind of database."""

    def __init__(
        self, kind: str, legacy: str, modern: str, rows: int, table: Table
    ) -> None:
        from django.db import connections, router

        from django_strangler.moves import Move
        from django_strangler.moves import Table as Moved
        from django_strangler.moves.declaring import registry
        from django_strangler.moves.sides import side_of
        from tests.torture.moves.models import Account

        self.kind, self.legacy, self.modern = kind, legacy, modern
        self.rows, self.table = rows, table
        for name in ("db_for_read", "db_for_write"):
            setattr(router, name, lambda model, **hints: legacy)
        registry.clear()  # A table is in one move only.
        self.move: type[Move] = type(
            "Bench",
            (Move,),
            {
                "name": f"bench-{kind}",
                "source": legacy,
                "target": modern,
                "tables": [Moved("torture_moves.Account")],
            },
        )
        for alias in (legacy, modern):
            with connections[alias].schema_editor() as editor:
                editor.create_model(Account)
        self.side, self.other = (
            side_of(self.move.name, alias) for alias in (legacy, modern)
        )

    def run(self) -> None:
        self.fill()
        loop = self.by_loop()
        copied = self.copied()
        self.table.note("a loop over rows, update_or_create", loop, "rows/s")
        self.table.line("copied", copied, "rows/s", 20_000, least=True)
        self.table.line("times the loop's rate", copied / loop, "", 12, least=True)
        self.verify()
        self.marks()

    def fill(self) -> None:
        numbers = (
            f"generate_series(1, {self.rows}) AS n"
            if self.kind == "postgresql"
            else f"(SELECT seq AS n FROM seq_1_to_{self.rows}) AS numbers"
        )
        self.side.run(
            f"INSERT INTO {TABLE} (id, owner, balance, bulk, rate, facts, note, "
            "is_open, seen) SELECT n, CONCAT('owner ', n), n * 7, 0, n / 10000.0, "
            """CONCAT('{"n": ', n, '}')"""
            + ("::jsonb" if self.kind == "postgresql" else "")
            + ", CASE WHEN n % 3 = 0 THEN 'a longer note, as people write them' END, "
            f"n % 2 = 0, '2026-01-01 00:00:00' FROM {numbers}"
        )

    def by_loop(self) -> float:
        """As one would: pages by OFFSET, and each row by the ORM."""
        from tests.torture.moves.models import Account

        began = time.monotonic()
        for first in range(0, LOOPED, 500):
            page = Account.objects.using(self.legacy).order_by("pk")
            for row in page[first : first + 500].values():
                pk = row.pop("id")
                there = Account.objects.using(self.modern)
                there.update_or_create(pk=pk, defaults=row)
        rate = LOOPED / (time.monotonic() - began)
        self.other.run(f"DELETE FROM {TABLE}")
        return rate

    def copied(self) -> float:
        from django_strangler.moves import beginning
        from django_strangler.moves.models import MoveState
        from django_strangler.moves.mover import Mover

        beginning.start(self.move)
        mover, state = Mover(self.move), MoveState.objects.using(self.legacy)
        began = time.monotonic()
        while state.get(name=self.move.name).stage == "copying":
            time.sleep(min(mover.step(), 0.01))
        took = time.monotonic() - began
        mover.leave()
        return self.rows / took

    def verify(self) -> None:
        from django_strangler.moves import verification

        done = verification.verify(self.move)
        assert (done.rows, done.differing) == (self.rows, 0)
        rate = done.rows / done.seconds
        self.table.line("verified", rate, "rows/s", 250_000, least=True)
        with self.other.writing():
            self.other.run(f"UPDATE {TABLE} SET balance = 0 WHERE id = {self.rows - 7}")
            self.other.run(f"DELETE FROM {TABLE} WHERE id = {self.rows // 2}")
            self.other.run(f"UPDATE {TABLE} SET id = -1 WHERE id = 7")
        began = time.monotonic()
        verification.verify(self.move)
        named = verification.named(self.move)
        took = time.monotonic() - began
        # The one with another key is extra there, and missing.
        assert len(named) == 4, named
        self.table.line("three wrong rows found and named", took, "s", 10)
        assert verification.verify(self.move, repair=True).differing == 0

    # Marks

    def marks(self) -> None:
        from django_strangler.moves.models import Mark

        marks = Mark.objects.using(self.legacy)
        marks.bulk_create(
            [Mark(move="stuck", tab="a.b", key=f"[{n}]") for n in range(STUCK)],
            batch_size=2000,
        )
        marks.create(move=self.move.name, tab="a.b", key="[1]")
        self.side.run(f"ANALYZE {'TABLE ' if self.kind == 'mariadb' else ''}{TABLE}")
        with self._without_index():
            before = _milliseconds(lambda: self.side.marks(2000))
        after = _milliseconds(lambda: self.side.marks(2000))
        self.table.note(f"a poll beside {STUCK:,} marks, no index", before, "ms")
        self.table.line(f"a poll beside {STUCK:,} marks", after, "ms", 2)
        times: dict[str, list[float]] = {"bare": [], "no index": [], "marked": []}
        for _ in range(ROUNDS):
            # In turn, so that whatever else the machine does meets all of them.
            self.side.uninstall(TABLE)
            times["bare"] += self._updates()
            self.side.install(TABLE, "torture_moves.account", ["id"])
            with self._without_index():
                times["no index"] += self._updates()
            times["marked"] += self._updates()
            self.side.forget_marks()
        bare, plain, marked = map(statistics.median, times.values())
        self.table.note("UPDATE by key", bare, "µs")
        self.table.note("marked, no index: more", plain - bare, "µs")
        self.table.line("marked: more", marked - bare, "µs", 80)

    @contextmanager
    def _without_index(self) -> Iterator[None]:
        if self.kind == "postgresql":
            self.side.run(f"DROP INDEX {INDEX}")
        else:
            self.side.run(f"DROP INDEX {INDEX} ON strangler_moves_mark")
        try:
            yield
        finally:
            self.side.run(f"CREATE INDEX {INDEX} ON strangler_moves_mark (move, id)")

    def _updates(self) -> list[float]:
        """Each in a transaction of its own, microseconds; the first warm up."""
        found = []
        with self.side.connection.cursor() as cursor:
            for number in range(UPDATES):
                began = time.perf_counter()
                cursor.execute(
                    f"UPDATE {TABLE} SET balance = balance + 1 WHERE id = %s",
                    [1 + number * 37 % self.rows],
                )
                found.append((time.perf_counter() - began) * 1e6)
        return found[50:]


def _milliseconds(do: Callable[[], Any]) -> float:
    times = []
    for _ in range(30):
        began = time.perf_counter()
        do()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
