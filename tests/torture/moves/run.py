"""
A move from its first command to its last, there, back and there again, under fire.

Between the parts, writers hold still, and the judge compares everything.
"""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture import schedule

from . import faults, judge, ledger
from .moves import NAME
from .mutants import MUTANTS
from .report import CALM, EXIT, FIRE, LONG, Report, Window
from .stage import SIDES, Stage, staged

KINDS = ("hot-rr", "raw", "keys", "bulk", "long", "hot", "keys-rr", "hot")
QUICK = ("hot", "raw", "keys", "hot-rr", "hot", "keys-rr", "hot", "keys")
PAUSE = 0.02  # Seconds between a writer's transactions.
GOALS = ("modern", "legacy", "modern")
AT_A_SWITCH = 3  # Faults.
FEW = 10  # Kills, for which copying need not take long, and there is no way back.
# Up to which share of all kills each part goes on.
COPYING, FOLLOWING = 0.3, (0.5, 0.7, 0.85)
LOOKS = 400  # At the lag.
MANY = 5000  # Rows that are copied before patience is at its end.


def torture(options: argparse.Namespace) -> int:
    """Run it, and say what it has shown."""
    pair = (options.database, options.to or options.database)
    logs = options.logs or Path(tempfile.mkdtemp(prefix="torture-moves-"))
    logs.mkdir(exist_ok=True, parents=True)
    for old in logs.glob("*.ledger"):
        old.unlink()
    about = f"{pair[0]} to {pair[1]}, seed {options.seed}, {options.rows:,} accounts"
    report = Report(about, wanted=0 if options.calm else options.kills)
    with staged(
        pair,
        logs,
        rows=options.rows,
        mutant=options.mutant or "",
        is_calm=options.calm,
    ) as stage:
        run = Run(stage, report, options)
        try:
            run.calmly() if options.calm else run.under_fire()
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            report.troubles.append(f"It came to no end: {error}"[:500])
        report.kills = stage.kills
        lines = stage.lines()
    print(report.text(lines), flush=True)
    if report.word != "GOOD":
        print(f"What the processes logged: {logs}", flush=True)
    return EXIT[report.word]


class Run:
    """The parts of the story."""

    def __init__(
        self, stage: Stage, report: Report, options: argparse.Namespace
    ) -> None:
        self.stage, self.report = stage, report
        self.seed, self.kills = options.seed, options.kills
        self.kinds = (QUICK if options.calm else KINDS)[: options.writers]
        self.switches = options.switches
        only = options.only.split(",") if options.only else None
        if only is None and options.mutant:
            only = MUTANTS[options.mutant].faults
        self.steps = self._steps(faults.FAULTS, only)
        self.at_a_switch = self._steps(faults.SWITCHING, only)
        self.began = time.monotonic()

    def _steps(
        self, known: Sequence[str], only: Sequence[str] | None
    ) -> Iterator[schedule.Step]:
        kinds = [name for name in known if only is None or name in only]
        return schedule.steps(kinds, self.seed)

    def under_fire(self) -> None:
        """There, back and there again, with all that dies on the way."""
        stage = self.stage
        stage.start_writers(self.seed, PAUSE, self.kinds)
        stage.must("check", NAME)
        stage.must("start", NAME)
        if self.kills > FEW:
            stage.must("pace", NAME, "0.1")
        stage.fill()
        stage.wait(stage.copied)
        self._hurt(COPYING)
        if self.kills > FEW:
            stage.must("pace", NAME, "1")
        self._until_copied()
        legs = list(zip(GOALS, FOLLOWING, strict=True))
        for goal, until in legs if self.kills > FEW else legs[:1]:
            self._hurt(until)
            self._look(f"before {goal}")
            self._verify()
            self._switch_under_fire(goal)
        self._hurt(1)
        self._end()

    def calmly(self, parts: Sequence[str] = ("lag", "pause", "long")) -> None:
        """Nobody is hurt: how fast it is, and how long writers wait."""
        stage, rates = self.stage, self.report.rates
        stage.must("start", NAME)
        stage.fill()
        stage.wait(lambda: stage.copied() > 0)
        began, rows = time.monotonic(), stage.copied()
        stage.wait(lambda: stage.stage_of_move() == "following", 300)
        took = time.monotonic() - began
        rates["copied, rows/s"] = (stage.copied() - rows) / took
        rates["verified, rows/s"] = self._verify()
        stage.start_writers(self.seed, PAUSE, self.kinds)
        time.sleep(2)
        if "lag" in parts:
            rates["changed, rows/s"] = self._watch_lag()
        if "pause" in parts:
            self._switch_again_and_again()
        if "long" in parts:
            self._switch_beside_a_long_transaction()
            self._switch_beside_a_long_transaction()
        self._end()

    # Parts

    def _until_copied(self) -> None:
        """However long that takes beside other work, as long as it goes on."""
        stage = self.stage
        while stage.stage_of_move() != "following":
            rows = stage.copied()
            at = time.monotonic() - self.began
            print(f"{at:7.1f} s  {rows:,} rows are copied", flush=True)
            stage.wait(
                lambda rows=rows: (
                    stage.copied() >= rows + MANY
                    or stage.stage_of_move() == "following"
                )
            )

    def _hurt(self, share: float) -> None:
        while self.stage.kills < share * self.kills:
            self._do(next(self.steps))

    def _do(self, step: schedule.Step, goal: str = "") -> None:
        self.stage.fill()
        time.sleep(step.pause)
        began = time.monotonic()
        try:
            proof = (
                faults.SWITCHING[step.name](self.stage, step.chance, goal)
                if goal
                else faults.FAULTS[step.name](self.stage, step.chance)
            )
        except Exception:  # noqa: BLE001  (It is void, and the run goes on.)
            traceback.print_exc()
            proof = ""
        (self.report.faults if proof else self.report.void)[step.name] += 1
        shown = proof or "VOID"
        at = began - self.began
        print(f"{at:7.1f} s  {step.name}: {shown} ({self.stage.kills})", flush=True)
        self.stage.fill()

    def _verify(self) -> float:
        """By the command; says how many rows in a second. It must find nothing."""
        status, said = 0, ""
        for _ in range(20):
            status, said = self.stage.command("verify", NAME)
            if found := re.search(r"([\d,]+)/s; ([\d,]+) difference", said):
                differing = int(found[2].replace(",", ""))
                self.report.false_differences += differing
                if differing:
                    self.report.troubles.append(f"verify says: {said[:500]}")
                return float(found[1].replace(",", ""))
            time.sleep(1)
        raise AssertionError(f"verify ended with {status}: {said}")

    def _switch_under_fire(self, goal: str) -> None:
        for step in itertools.islice(self.at_a_switch, AT_A_SWITCH):
            if self.stage.kills >= self.kills:
                break
            began = time.monotonic()
            self._do(step, goal)
            # Whatever has died: before long one side is open again, by itself.
            self.stage.wait(self._is_open, 90)
            self._window(began, goal, FIRE)
            if self.stage.primary() == goal:
                return
            self._verify()
        self._switch(goal, FIRE)

    def _switch_again_and_again(self) -> None:
        for _ in range(self.switches):
            self.stage.wait(lambda: self.stage.marks() < 100)
            self._verify()
            self._switch(self._other_side(), CALM)
            time.sleep(1)

    def _other_side(self) -> str:
        return next(side for side in SIDES if side != self.stage.primary())

    def _switch_beside_a_long_transaction(self) -> None:
        """The switch has to wait for it; nobody else may."""
        goal = self._other_side()
        self._verify()
        url, has_written = self.stage.urls[self.stage.primary()], threading.Event()
        long = threading.Thread(target=judge.write_slowly, args=(url, has_written))
        long.start()
        assert has_written.wait(60)
        self._switch(goal, LONG)
        long.join()

    def _switch(self, goal: str, how: str) -> None:
        began = time.monotonic()
        self.stage.must("switch", NAME, "--to", goal)
        self._window(began, goal, how)
        if self.stage.primary() != goal:
            self.report.troubles.append(f"switch to {goal} said yes, and did not")

    def _is_open(self) -> bool:
        return not self.stage.goal() and not all(map(self.stage.is_closed, SIDES))

    def _window(self, began: float, goal: str, how: str) -> None:
        self.report.windows.append(
            Window(began=began, ended=time.monotonic(), goal=goal, how=how)
        )

    def _watch_lag(self) -> float:
        """How far the other side is behind; says how many rows change in a second."""
        stage = self.stage
        sql = (
            "SELECT EXTRACT(EPOCH FROM clock_timestamp() - MIN(at)) AS lag "
            if stage.urls["legacy"].startswith("postgres")
            else "SELECT TIMESTAMPDIFF(MICROSECOND, MIN(at), UTC_TIMESTAMP(6)) / 1e6 "
            "AS lag "
        )
        began = time.monotonic()
        for _ in range(LOOKS):
            lag = stage.query("legacy", f"{sql} FROM strangler_moves_mark")[0]["lag"]
            self.report.lags.append(float(lag or 0))
            time.sleep(0.03)
        ended = time.monotonic()
        rows = sum(
            line.rows
            for line in stage.lines()
            if line.outcome == ledger.COMMITTED and began < line.at < ended
        )
        return rows / (ended - began)

    def _look(self, when: str) -> None:
        """Hold everybody, let the mover follow, and judge."""
        self.stage.tell_writers("hold")
        try:
            self._judge(when)
        finally:
            self.stage.tell_writers("go")

    def _judge(self, when: str) -> None:
        stage, found = self.stage, []
        stage.wait(lambda: not stage.marks())
        rows = {side: judge.read(stage.urls[side]) for side in SIDES}
        goal = ledger.expected(stage.lines())
        found += judge.unequal(rows["legacy"], rows["modern"])
        found += judge.broken(rows[stage.primary()], goal)
        found += judge.unsound(stage.urls)
        self.report.checks += 1
        self.report.rows += sum(map(len, rows["legacy"].values()))
        self.report.troubles += [f"{when}: {each}" for each in found]
        self._errors(when)
        at = time.monotonic() - self.began
        print(f"{at:7.1f} s  {when}: {len(found)} troubles", *found, sep="\n")

    def _errors(self, when: str) -> None:
        bad = [line for line in self.stage.lines() if line.is_fault]
        if bad and not any("a writer's error" in each for each in self.report.troubles):
            self.report.troubles.append(
                f"{when}: {len(bad)} times a writer's error, first of {bad[0].kind}: "
                f"{bad[0].error}"
            )

    def _end(self) -> None:
        stage = self.stage
        if stage.primary() != "modern":
            self._verify()
            self._switch("modern", CALM)
        stage.tell_writers("hold")
        self._judge("before finishing")
        stage.tell_writers("stop")
        stage.must("finish", NAME)
        rows = judge.read(stage.urls["modern"])
        goal = ledger.expected(stage.lines())
        found = judge.broken(rows, goal) + judge.leftovers(stage.urls)
        self.report.troubles += [f"finished: {each}" for each in found]
