"""The team that takes payments out of the monolith, one command after the other."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial

from tests.waiting import TimedOut, wait_for

from . import retiring
from .history import History, Row, lines
from .judge import BURST, LAST
from .nemesis import Nemesis
from .stage import Stage
from .watch import share

NOTIFICATIONS, PAYMENTS = "notifications-v2", "payments-v2"
RECEIPTS, SHADOW = "receipts-v2", "receipts-shadow"
MOVE = "payments"
FEW = 5  # Percent of such a shop's users, below which evidence is rare.
AT_HOME = ("strangler_survey", "strangler_contracts")  # Not typed where it serves.
LEAST = 20  # Samples that a step of a ramp waits for.


def _sent(request: urllib.request.Request) -> bool:
    with urllib.request.urlopen(request, timeout=5):
        return True


class Team:
    """Each step ends when what the next one presupposes is so."""

    def __init__(
        self, stage: Stage, history: History, nemesis: Nemesis, seconds: float
    ) -> None:
        self.stage, self.history, self.nemesis = stage, history, nemesis
        self.seconds = seconds
        self.until = time.monotonic() + seconds

    def wait_as_long(self) -> None:
        """The control run: nothing is moved."""
        self.phase("nothing is moved")
        self.rest_until(1)

    def play(self) -> None:
        """The way of the tutorial, from the first look to the last flag."""
        self.look()
        self.compare()
        self.notifications()
        self.payments()
        self.bad_release()
        self.switch("modern")
        self.deploy()
        self.drop()
        self.retire()
        self.phase("all on the modern side")
        self.rest_until(1)
        self.end()
        self.delete()

    # Steps

    def look(self) -> None:
        self.phase("survey and contracts")
        self.must("strangler_survey", "--check")
        self.must("strangler_contracts", "check")
        for flag in (RECEIPTS, SHADOW, NOTIFICATIONS):
            self.must("flag", "set", flag, "0", "--why", "prepare")

    def compare(self) -> None:
        self.phase("branch and experiment")
        self.must("flag", "set", SHADOW, "100", "--why", "compare everybody's")
        self.rest_until(0.15)
        said = ""
        while "open-totals" not in said or "receipts-v2" not in said:
            time.sleep(0.5)
            said = self.must("strangler_experiments", "list")
        self.history.notes["experiments"] = ", ".join(said.strip().splitlines())
        self.must("flag", "set", RECEIPTS, "100", "--why", "no mismatch was seen")
        self.must("flag", "set", SHADOW, "0", "--why", "compared enough")

    def notifications(self) -> None:
        self.phase("notifications: 1 %")
        source = "service:notifications"
        guard = ("--on", source, "--action", "off", "--least", str(LEAST))
        self.must("flag", "guard", NOTIFICATIONS, *guard)
        self.must("flag", "set", NOTIFICATIONS, "1", "--why", "first users")
        self.phase("notifications: a gated ramp")
        self.ramp(NOTIFICATIONS, 25, 100)

    def move_and_come_back(self) -> None:
        """While both sides write: the tables go, and the way back is shown."""
        self.phase("the tables are copied")
        self.must("strangler_moves", "check", MOVE)
        self.must("strangler_moves", "start", MOVE)
        for goal in ("modern", "legacy"):
            self.switch(goal)
            time.sleep(self.seconds / 30)

    def drop(self) -> None:
        """No way back from here: the old tables are gone, whoever leans on them."""
        self.must("strangler_moves", "finish", MOVE)
        self.stage.want("mover", 0)
        self.phase("the old tables are gone")
        tables = ("ledgerentry", "refund", "payout", "paymentrequest", "payment")
        names = ", ".join(f"payments_{name}" for name in tables)
        self.stage.execute("legacy", f"DROP TABLE IF EXISTS {names}")

    def switch(self, goal: str) -> None:
        """Once the other side has everything; and how long writers waited for it."""
        wait_for(self.is_followed, 180, interval=0.5)
        with self.nemesis.away():
            self.must("strangler_moves", "verify", MOVE)
            said = self.must("strangler_moves", "switch", MOVE, "--to", goal)
        self.phase(f"the tables live on the {goal} side")
        waited = re.search(r"waited for\s+([\d.,]+ \w+)", said)
        notes = self.history.notes.setdefault("writers waited for a switch", [])
        notes.append(waited[1] if waited else said.strip())

    def is_followed(self) -> bool:
        status, said = self.stage.run("strangler_moves", "status", MOVE, "--json")
        if status:
            return False
        (found,) = json.loads(said[said.index("[\n") : said.rindex("]") + 1])
        return found["stage"].startswith("following") and found["lag"] < 1

    def payments(self) -> None:
        self.phase("payments: 1 %")
        # They have nothing to do yet, and are there when they do.
        self.stage.want("mover", 2)
        self.stage.want("relay of payments", 2)
        self.must("flag", "set", PAYMENTS, "1", "--why", "first users")
        # Legacy answers what the service could not, so nobody is harmed by a service
        # that is away for a moment, as here it is every few seconds.
        guard = ("--on", "route:payments-api", "--action", "off", "--least", str(LEAST))
        self.must("flag", "guard", PAYMENTS, *guard, "--margin", "10", "--limit", "10")
        self.phase("payments: a gated ramp")
        self.ramp(PAYMENTS, 25)
        self.move_and_come_back()
        self.phase("payments: on, by the gated ramp")
        self.ramp(PAYMENTS, 100)

    def bad_release(self) -> None:
        """The service answers with errors; nobody of the team touches anything."""
        with self.nemesis.away():
            self.phase("a bad release")
            began = time.time()
            self.bugs(errors=1)
            wait_for(lambda: not self.is_on(PAYMENTS), 120, interval=0.1)
            self.history.notes["a bad release taken back, s"] = round(
                self.incident() - self.first_failure(began), 2
            )
            self.phase("taken back")
            self.bugs()
            time.sleep(1)
            self.must("flag", "resume", PAYMENTS, "--why", "the release before is back")
        self.phase("payments: again at 100 %")

    def deploy(self) -> None:
        """Nobody leans on the old notifications any more, nor on the old tables."""
        self.phase("the old notifications fall silent")
        project = retiring.copied(self.stage.folder / "release")
        retiring.cut_ties(project)
        self.stage.release = project
        self.stage.leave_desk()
        self.must("strangler_survey", "--update")
        self.must("strangler_contracts", "write")
        self.must("migrate", "--no-input", "--verbosity", "0")
        for role in ("monolith", "relay", "consumer"):
            self.stage.roll(role)

    def retire(self) -> None:
        """The board knows whether they are silent."""
        self.phase("the verdict")

        def is_safe() -> bool:
            self.on_call()
            command = ("strangler_status", "--domain", "notifications", "--json")
            _, said = self.stage.run(*command)
            (row,) = json.loads(said[said.index("[\n") : said.rindex("]") + 1])
            self.history.notes["verdict on notifications"] = row["verdict"]
            self.history.notes["what is left"] = row["reasons"]
            return bool(row["verdict"] == "safe to retire")

        wait_for(is_safe, 180, interval=2, ignoring=(ValueError,))

    def end(self) -> None:
        """Nobody is hurt any more: the modern side is to serve all of it."""
        self.nemesis.rest()
        self.phase("in the end")
        began = time.time()

        def is_modern() -> bool:
            self.on_call()
            last = max(began, time.time() - LAST)
            tries = [
                line
                for line in lines(self.stage.folder / "customers.jsonl")
                if line["t"] == "try"
                and line["at"] > last
                and line["side"]
                and 200 <= line["status"] < 300
            ]
            legacy = sum(t["side"] != "modern" for t in tries)
            return len(tries) >= LAST and legacy <= BURST * len(tries)

        # Breakers close, and what was on its way arrives.
        with suppress(TimedOut):
            wait_for(is_modern, 90, interval=0.5)
        time.sleep(LAST + 0.5)
        self.history.phases.append({"at": time.time(), "name": "after"})

    def delete(self) -> None:
        """Their code goes, and what is left passes its tests."""
        project = retiring.copied(self.stage.folder / "without")
        retiring.cut_ties(project)
        retiring.delete(project)
        status, said = retiring.test(project, self.stage.folder)
        assert status == 0, said
        summary = said.strip().splitlines()[-1]
        self.history.notes["tests without the old notifications"] = summary

    # How

    def ramp(self, flag: str, *steps: int) -> None:
        """Raise it by evidence; an incident is looked at, and then it goes on."""
        now, began_at = datetime.now(timezone.utc), self.share(flag)
        pause = timedelta(seconds=self.seconds / 40)
        wanted = [
            f"{share}@{(now + pause * number).isoformat(timespec='seconds')}"
            for number, share in enumerate(steps, start=1)
        ]
        self.must("flag", "ramp", flag, *wanted, "--gated", "--why", "all is well")
        if began_at < FEW:
            time.sleep(self.seconds / 60)
            # So many samples would take days of such a shop's traffic.
            self.must("flag", "release", flag, "--why", "few users, and no complaints")
        deadline = time.monotonic() + max(120.0, self.seconds / 3)
        while self.share(flag) < steps[-1]:
            self.on_call()
            if time.monotonic() > deadline:
                raise TimedOut(f"{flag} is at {self.share(flag)} % only")
            time.sleep(0.5)

    def on_call(self) -> None:
        """A guard took a flag back because something was killed: look, and go on."""
        for flag in self.stage.query(
            "legacy", "SELECT name, enabled FROM strangler_flag"
        ):
            if not flag["enabled"] and self.is_well(flag["name"]):
                notes = self.history.notes
                notes["guards that tripped"] = notes.get("guards that tripped", 0) + 1
                why = ("--why", "it was a passing fault")
                self.must("flag", "resume", flag["name"], *why)

    def is_well(self, flag: str) -> bool:
        """Whether what the guard has seen is over, as far as somebody can see."""
        if flag != PAYMENTS:
            return True
        url = f"http://127.0.0.1:{self.stage.inner}/payments/?user=0"
        with suppress(OSError):
            return all(_sent(urllib.request.Request(url)) for _ in range(4))
        return False

    def phase(self, name: str) -> None:
        at = time.time()
        self.history.phases.append({"at": at, "name": name})
        print(f"{at - self.history.phases[0]['at']:7.1f} s  == {name}", flush=True)

    def rest_until(self, share: float) -> None:
        """Until so much of the run is over."""
        end = self.until - (1 - share) * self.seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            self.on_call()

    def must(self, *command: str) -> str:
        """A command; when a server was just away, it is typed again."""
        run = self.stage.run_at_home if command[0] in AT_HOME else self.stage.run
        for _ in range(30):
            status, said = run(*command)
            if status == 0:
                return said
            time.sleep(1)
        raise AssertionError(f"manage.py {' '.join(command)} ended with: {said}")

    def bugs(self, **bugs: float) -> None:
        for port in self.stage.ports["payments"]:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/__bugs",
                json.dumps(bugs).encode(),
                method="PUT",
            )
            # It may just be starting.
            wait_for(partial(_sent, request), 90, ignoring=(OSError,))

    def is_on(self, flag: str) -> bool:
        return bool(self._flag(flag)["enabled"])

    def share(self, flag: str) -> float:
        """What the database says is open, ramp included."""
        row = self._flag(flag)
        return share(float(row["percentage"]), row["ramp"])

    def _flag(self, flag: str) -> Row:
        sql = f"SELECT * FROM strangler_flag WHERE name = '{flag}'"
        return self.stage.query("legacy", sql)[0]

    def incident(self) -> float:
        """When the guard acted last."""
        sql = "SELECT extract(epoch FROM max(at))::float AS at FROM strangler_incident"
        return float(self.stage.query("legacy", sql)[0]["at"])

    def first_failure(self, since: float) -> float:
        """As a customer saw it; GETs were answered by legacy meanwhile."""
        failed = [
            line["at"]
            for line in lines(self.stage.folder / "customers.jsonl")
            if line["t"] == "try" and line["at"] >= since and line["status"] == 500
        ]
        return min(failed, default=since)
