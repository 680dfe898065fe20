"""One run: the stage, the customers, the team and the nemesis, and what they leave."""

from __future__ import annotations

import argparse
import time
import traceback
from pathlib import Path

from tests.waiting import wait_for

from . import judge, report
from .history import History, lines
from .nemesis import Nemesis
from .stage import Customers, Stage, staged
from .team import Team
from .watch import Watch

WARM = 2.0  # Seconds until the first figures count.


def run(options: argparse.Namespace, folder: Path) -> tuple[History, judge.Verdict]:
    """Play it, and judge it."""
    history = History(seconds=options.seconds, is_control=options.control)
    with staged(folder) as stage:
        history.phases.append({"at": time.time(), "name": "before"})
        customers = Customers(
            stage,
            seed=options.seed,
            rate=options.rate,
            number=options.customers,
            seconds=options.seconds,
        )
        watch = Watch(stage, history)
        nemesis = Nemesis(stage, history, options.seed)
        team = Team(stage, history, nemesis, options.seconds)
        troubles = []
        try:
            with nemesis.at_work(is_calm=options.calm, pace=options.pace):
                team.wait_as_long() if options.control else team.play()
        except Exception as error:  # noqa: BLE001  (What there is, is judged.)
            traceback.print_exc()
            troubles = [f"The team came to no end: {error}"[:500]]
        nemesis.mend()
        customers.stop()
        if history.phases[-1]["name"] != "after":
            history.phases.append({"at": time.time(), "name": "after"})
        watch.close()
        settle(stage)
        collect(stage, history)
        history.save(folder / "history.json")
    beside = History.load(options.beside) if options.beside else None
    verdict = judge.judge(
        history,
        downtime_allowed=options.downtime,
        settle=options.settle,
        beside=beside,
    )
    verdict.troubles[:0] = troubles
    page = options.report or folder / "report.html"
    page.write_text(report.page(history, verdict, vars(options)))
    return history, verdict


def settle(stage: Stage) -> None:
    """Until everything that was begun has come to its end."""
    stage.fill()
    if stage.pending("modern"):
        stage.want("relay of payments", 1)
    for side in ("legacy", "modern"):
        wait_for(lambda: not stage.pending(side), 180, interval=0.5)  # noqa: B023
    stage.must_run("tests.extraction.forgotten")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        history = History()
        collect(stage, history)
        if not judge.money(history) and not judge.mails(history):
            return
        time.sleep(2)


def collect(stage: Stage, history: History) -> None:
    """What everybody has written down."""
    for line in lines(stage.folder / "customers.jsonl"):
        {"try": history.tries, "order": history.orders}.get(
            line.pop("t"), history.complaints
        ).append(line)
    for line in lines(stage.folder / "ledger.jsonl"):
        (history.post if line["kind"] == "mails" else history.bank).append(line)
    side = stage.home_of_payments()
    history.payments = stage.query(
        side, "SELECT id, user_id, amount::text, currency, status FROM payments_payment"
    )
    history.refunds = stage.query(
        side, "SELECT id, payment_id, amount::text FROM payments_refund"
    )
    history.ledger = stage.query(
        side,
        "SELECT user_id, payment_id, kind, amount::text, currency "
        "FROM payments_ledgerentry",
    )
    if side == "modern":
        tables = stage.query(
            "legacy",
            "SELECT tablename AS name FROM pg_tables "
            "WHERE tablename LIKE 'payments\\_%' ORDER BY 1",
        )
        history.left_behind = [row["name"] for row in tables]
    history.users = stage.query("legacy", "SELECT id, email FROM users_user")
    history.mails = stage.query(
        "notifications", "SELECT user_id, subject, body FROM mails"
    )
