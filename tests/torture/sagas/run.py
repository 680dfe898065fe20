"""One run: orders, harm, a quiet end, the verdict; and once more with all mended."""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
import traceback
from pathlib import Path

from tests.waiting import wait_for

from . import judge
from .judge import COMPLETED, STUCK, UNDONE
from .stage import MONEY, STOCK, Stage, staged

EXIT = {"GOOD": 0, "BAD": 1, "VOID": 2}
# Whom it hits, in turn.
VICTIMS = (("consumer", "orchestrators"), ("consumer", "participants"))
PATIENCE = 300  # Seconds without any saga that ends.
LOOKS = 4


def torture(options: argparse.Namespace) -> int:
    """Run it, and say what it has shown."""
    kinds = (options.database, options.to or options.database)
    logs = options.logs or Path(tempfile.mkdtemp(prefix="torture-sagas-"))
    logs.mkdir(exist_ok=True, parents=True)
    for old in logs.glob("died-*"):
        old.unlink()
    print(
        f"{options.count:,} sagas on {kinds[0]}, participants on {kinds[1]}, seed "
        f"{options.seed}",
        flush=True,
    )
    mutant = options.mutant or ""
    with staged(kinds, logs, seed=options.seed, mutant=mutant) as stage:
        run = Run(stage, options)
        try:
            run.under_fire()
            run.mended()
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            run.troubles.append(f"It came to no end: {error}"[:500])
    for trouble in run.troubles:
        print(trouble)
    word = "GOOD" if stage.kills >= options.kills else "VOID"
    if run.troubles:
        word = "BAD"
        print(f"What the processes logged: {logs}")
    print(word, flush=True)
    return EXIT[word]


class Run:
    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self.stage, self.count, self.kills = stage, options.count, options.kills
        self.troubles: list[str] = []
        self._chance = random.Random(options.seed)
        self._began = time.monotonic()

    def under_fire(self) -> None:
        """Until each saga has come to an end, or is stuck."""
        stage = self.stage
        stage.fill()
        shop = ("tests.torture.sagas.shop", "orders", str(self.count))
        orders = stage.start("shop", "orchestrators", *shop)
        killed, last, since = 0, -1, time.monotonic()
        while True:
            stage.fill()
            states = stage.states()
            settled = sum(states.get(each, 0) for each in (COMPLETED, UNDONE, STUCK))
            if settled != last:
                last, since = settled, time.monotonic()
            while killed < self.kills and settled > self.count * killed / (
                self.kills + 1
            ):
                # At a point of the work, not of the clock.
                if not self._kill(killed):
                    break  # It died by itself just now: first it is started again.
                killed += 1
                if killed == self.kills // 2 and orders.poll() is None:
                    orders.kill()
                    orders.wait()
            if orders.poll() is not None and sum(states.values()) < self.count:
                orders = stage.start("shop", "orchestrators", *shop)
            if settled == self.count and killed >= self.kills:
                break
            if time.monotonic() - since > PATIENCE:
                raise AssertionError(f"Nothing ends any more; states: {states}")
            time.sleep(0.1)
        orders.wait(120)
        self._wait_until_quiet()
        held = stage.network.let_go()
        self._wait_until_quiet()
        took = time.monotonic() - self._began
        print(f"{took:.0f} s; {held} messages came when all was over")
        self._say()
        self._judge()
        self._look_for_stuck()

    def mended(self) -> None:
        """Nothing goes wrong any more, and a person retries what is stuck."""
        stage = self.stage
        stage.mend()
        said = stage.run("tests.torture.sagas.shop", "retry")
        if said:
            self.troubles.append(f"retry: {said[-500:]}")

        def is_over() -> bool:
            stage.fill()
            states = stage.states()
            ended = states.get(COMPLETED, 0) + states.get(UNDONE, 0)
            return ended == self.count or (
                set(states) <= {COMPLETED, UNDONE, STUCK} and stage.is_quiet()
            )

        wait_for(is_over, 240, interval=0.5, ignoring=(Exception,))
        self._wait_until_quiet()
        print(f"Mended and retried: {self._shown()}")
        self._judge(stuck_is_fine=False)

    def _kill(self, number: int) -> bool:
        role, side = VICTIMS[number % len(VICTIMS)]
        hit = self.stage.kill(role, side, self._chance.randrange(2))
        if number % 4 == 3:  # Besides.
            self.stage.kill("relay", side, 0)
        return hit

    def _wait_until_quiet(self) -> None:
        looks = 0

        def is_quiet() -> bool:
            nonlocal looks
            self.stage.fill()
            looks = looks + 1 if self.stage.is_quiet() else 0
            return looks > 3

        wait_for(is_quiet, 180, interval=0.5, ignoring=(Exception,))

    def _judge(self, *, stuck_is_fine: bool = True) -> None:
        for _ in range(LOOKS):
            found = judge.read(self.stage.urls, stock=STOCK, money=MONEY)
            troubles = judge.judge(found, stuck_is_fine=stuck_is_fine)
            if not troubles:
                return
            # What is wrong stays so; what was due just now comes to its end.
            self._wait_until_quiet()
        self.troubles += troubles

    def _look_for_stuck(self) -> None:
        """A stuck one is shown."""
        for _ in range(LOOKS):
            stuck = self.stage.states().get(STUCK, 0)
            said = self.stage.run("django", "strangler_doctor")
            shown = re.search(r"(\d+) stuck sagas", said)
            if int(shown[1] if shown else 0) == stuck:
                return
            # One has freed itself meanwhile: what is due is tried again, for ever.
        self.troubles.append(f"{stuck} are stuck, and the doctor says: {said}")

    def _shown(self) -> str:
        states = self.stage.states()
        names = {COMPLETED: "completed", UNDONE: "undone", STUCK: "stuck"}
        return ", ".join(f"{states.get(n, 0)} {name}" for n, name in names.items())

    def _say(self) -> None:
        stage = self.stage
        print(self._shown())
        print(f"{stage.kills} kills; {stage.own_deaths} participants died at work")
        seen = stage.network.seen
        for name, times in sorted(seen.items()):
            print(f"  {name}: {times:,}")
