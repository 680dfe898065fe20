"""
What a move costs and how fast it is, beside the loop that one would write by hand.

    python -m tests.benchmarks.bench_moves PART... [--database mariadb] [--rows N]

`copy`: copying at 12 times the loop's rate and 20,000 rows/s, verifying at 250,000
rows/s, three wrong rows found and named in 10 s. `marks`: a marked UPDATE by key for 80
µs more, and a poll beside 200,000 marks of another move that stands still in 2 ms.
With 8 writers, two movers and commands as processes: `lag`: 100 ms in 99 of 100 looks
at 500 changed rows/s; `pause`: at the median of 20 switches, some writer waits for 300
ms; `long`: beside a transaction of 10 s nobody else waits for longer.
Each takes less than four minutes; by default, `copy` and `marks`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROWS = {"postgresql": 1_000_000, "mariadb": 200_000}  # Each in its time.
LOOPED = 3000  # Rows that the loop copies.
STUCK = 200_000  # Marks of a move that stands still.
ROUNDS, UPDATES = 8, 300
CALM, ACCOUNTS = ("lag", "pause", "long"), 20_000
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
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"copy, marks, {', '.join(CALM)}"
    )
    parser.add_argument("--rows", type=int)
    parser.add_argument("--database", choices=["postgresql", "mariadb"])
    options = parser.parse_args()
    parts = options.parts or ["copy", "marks"]
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.torture.moves.settings"
    os.environ.pop("DATABASE_URL", None)
    import django

    django.setup()
    table = Table()
    kinds = [options.database] if options.database else ["postgresql", "mariadb"]
    for kind in kinds:
        if not {*parts} <= {*CALM}:
            measure(kind, parts, options.rows or ROWS[kind], table)
        if calm := [part for part in parts if part in CALM]:
            measure_calmly(kind, calm, options.rows or ACCOUNTS, table)
    return table.missed


def measure(kind: str, parts: Sequence[str], rows: int, table: Table) -> None:
    """Within this process."""
    from tests.benchmarks.servers import servers

    with (
        servers() as (_, databases),
        databases.fresh(kind) as legacy,
        databases.fresh(kind) as modern,
    ):
        print(f"{kind}, {rows:,} rows", flush=True)
        bench = Bench(kind, legacy, modern, rows, table)
        bench.fill()
        if "copy" in parts:
            bench.copy()
        if "marks" in parts:
            bench.marks()


def measure_calmly(kind: str, parts: Sequence[str], rows: int, table: Table) -> None:
    """With writers, movers and commands as the torture has them, and nobody hurt."""
    from tests.torture.moves.report import CALM, LONG, Report
    from tests.torture.moves.run import Run
    from tests.torture.moves.stage import staged

    report = Report(f"{kind}, 8 writers, {rows:,} accounts", wanted=0)
    options = argparse.Namespace(
        seed=1, kills=0, calm=True, writers=8, switches=20, only=None, mutant=""
    )
    logs = Path(tempfile.mkdtemp(prefix="bench-moves-"))
    with staged((kind, kind), logs, rows=rows, mutant="", is_calm=True) as stage:
        Run(stage, report, options).calmly(parts)
        lines = stage.lines()
    print(report.text(lines), flush=True)
    table.missed |= report.word != "GOOD"
    if "lag" in parts:
        rate = report.rates["changed, rows/s"]
        table.line("changed", rate, "rows/s", 500, least=True)
        table.line("lag, p99", 1000 * report.lag_p99, "ms", 100)
    if "pause" in parts:
        pauses = report.pauses(CALM, lines)
        table.line("pause, median", 1000 * statistics.median(pauses), "ms", 300)
    if "long" in parts:
        longest = max(report.pauses(LONG, lines))
        table.line("others beside a transaction of 10 s", 1000 * longest, "ms", 300)


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

    def copy(self) -> None:
        loop = self.by_loop()
        copied = self.copied()
        self.table.note("a loop over rows, update_or_create", loop, "rows/s")
        self.table.line("copied", copied, "rows/s", 20_000, least=True)
        self.table.line("times the loop's rate", copied / loop, "", 12, least=True)
        self.verify()

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
        poll = _milliseconds(lambda: self.side.marks(2000))
        self.table.line(f"a poll beside {STUCK:,} marks", poll, "ms", 2)
        self.side.establish(closed=False, opened=1)
        bare, marked = list[float](), list[float]()
        for _ in range(ROUNDS):
            # In turn, so that whatever else the machine does meets both.
            self.side.uninstall(TABLE)
            bare += self._updates()
            self.side.install(TABLE, "torture_moves.account", ["id"])
            marked += self._updates()
            self.side.forget_marks()
        self.table.note("UPDATE by key", statistics.median(bare), "µs")
        more = statistics.median(marked) - statistics.median(bare)
        self.table.line("marked: more", more, "µs", 80)

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
