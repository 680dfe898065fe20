"""
Compares, from outside, what customers were answered with what is so.

Pure functions of a history; each returns what it has found, in words, and nothing when
all is well.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from django_strangler.feature_flags.buckets import bucket, threshold

from .history import History, Row

WARM_UP = 5.0  # Seconds until a process that has begun is as quick as it can be.
SETTLE = 2.5  # Seconds in which processes may still follow an older flag.
SHOWN = 5


@dataclass(kw_only=True)
class Verdict:
    troubles: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    phases: list[Row] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.troubles


def judge(
    history: History,
    *,
    downtime_allowed: int = 0,
    settle: float = SETTLE,
    beside: History | None = None,
) -> Verdict:
    """
    All of it; some seconds of downtime, if so allowed, are said and no trouble.

    ``beside`` is a control run: nobody may wait much longer than there.
    """
    verdict = Verdict()
    for look in (money, mails, answers, replays, sides, downtime, end):
        found = look(history, settle) if look is sides else look(history)
        if look is downtime and len(found) <= downtime_allowed:
            continue
        verdict.troubles += found[:SHOWN]
        if len(found) > SHOWN:
            verdict.troubles.append(
                f"… and {len(found) - SHOWN} more of {look.__name__}"
            )
    verdict.figures = figures(history)
    verdict.phases = phases(history)
    if beside is not None:
        bar = calm_p99(beside)
        verdict.figures["p99 of the control run, ms"] = round(bar * 1000, 1)
        verdict.troubles += slower(verdict.phases, bar)
    return verdict


# Money


def money(history: History) -> list[str]:
    """To the cent: what was answered, what is in the books, what the bank has done."""
    rows = {row["id"]: row for row in history.payments}
    books: defaultdict[int, list[Decimal]] = defaultdict(list)
    for row in history.ledger:
        books[row["payment_id"]].append(Decimal(row["amount"]))
    refunds: defaultdict[int, list[Row]] = defaultdict(list)
    for row in history.refunds:
        refunds[row["payment_id"]].append(row)
    return [
        *_answered(history, rows, refunds),
        *_invented(history, rows),
        *_booked(rows, books, refunds),
        *_at_the_bank(history, rows, refunds),
    ]


def _answered(
    history: History, rows: dict[int, Row], refunds: dict[int, list[Row]]
) -> Iterator[str]:
    """What a customer was told is so."""
    status = {id: row["status"] for id, row in rows.items()}
    for order in history.orders:
        kind, answer, id = order["kind"], order["answer"], order["payment"]
        if kind == "create" and order["status"] == 201:
            row = rows.get(answer["id"])
            if row is None:
                yield f"Payment {answer['id']} was answered, and is not there."
            elif Decimal(row["amount"]) != Decimal(order["sent"]["amount"]):
                yield f"Payment {row['id']}: {row['amount']}, not {order['sent']}."
        elif kind == "complete" and order["status"] == 200:
            if status.get(id) not in ("completed", "refunded"):
                yield f"Payment {id} was completed, and is not."
        elif kind == "fail" and order["status"] == 200:
            if status.get(id) != "failed":
                yield f"Payment {id} was given up, and is not."
        elif kind == "refund" and order["status"] == 201:
            ids = {row["id"] for row in refunds.get(id, ())}
            if answer["id"] not in ids:
                yield f"Refund {answer['id']} was answered, and is not there."


def _invented(history: History, rows: dict[int, Row]) -> Iterator[str]:
    """Nothing is there that nobody was answered; but for orders without an answer."""
    for kind, status, found in (
        ("create", 201, len(rows)),
        ("refund", 201, len(history.refunds)),
        ("sign-up", 201, len(history.users)),
    ):
        mine = [each for each in history.orders if each["kind"] == kind]
        done = sum(each["status"] == status for each in mine)
        unknown = sum(each["status"] == 0 or each["status"] >= 500 for each in mine)
        if not done <= found <= done + unknown:
            yield f"{found} rows of {kind}, and {done} answered ({unknown} unknown)."


def _booked(
    rows: dict[int, Row],
    books: dict[int, list[Decimal]],
    refunds: dict[int, list[Row]],
) -> Iterator[str]:
    for id, row in rows.items():
        wanted = [-Decimal(each["amount"]) for each in refunds.get(id, ())]
        if row["status"] in ("completed", "refunded"):
            wanted.append(Decimal(row["amount"]))
        if sorted(books.get(id, [])) != sorted(wanted):
            yield f"The books of payment {id}: {books.get(id, [])}, not {wanted}."


def _at_the_bank(
    history: History, rows: dict[int, Row], refunds: dict[int, list[Row]]
) -> Iterator[str]:
    wanted: Counter[tuple[str, int, Decimal]] = Counter()
    for id, row in rows.items():
        if row["status"] in ("completed", "refunded"):
            wanted["charges", id, Decimal(row["amount"])] += 1
        for each in refunds.get(id, ()):
            wanted["refunds", each["id"], Decimal(each["amount"])] += 1
    done: Counter[tuple[str, int, Decimal]] = Counter()
    for line in history.bank:
        if line["status"] == 422:
            yield f"The bank got another order under the key {line['key']}."
            continue
        order = line["order"]
        id = order["paymentId" if line["kind"] == "charges" else "refundId"]
        done[line["kind"], id, Decimal(order["amount"])] += 1
    for (kind, id, amount), number in (done - wanted).items():
        yield f"The bank has {number} of {kind} for {id} over {amount} too many."
    for (kind, id, amount), number in (wanted - done).items():
        yield f"The bank lacks {number} of {kind} for {id} over {amount}."


# Mails


def mails(history: History) -> list[str]:
    """One for each sign-up, payment and refund, by one path or the other."""
    wanted: Counter[str] = Counter()
    for row in history.users:
        wanted[f"user.signup {row['id']}"] += 1
    owner = {}
    for row in history.payments:
        owner[row["id"]] = row["user_id"]
        if row["status"] in ("completed", "refunded"):
            wanted[f"payment.completed {row['id']}"] += 1
    for row in history.refunds:
        wanted[f"payment.refunded {row['payment_id']} {Decimal(row['amount'])}"] += 1
    refunds = {row["id"]: row for row in history.refunds}
    sent: Counter[str] = Counter()
    for line in history.post:
        if line["status"] != 201:
            continue
        type, _, id = line["key"].strip("<>").partition("@")[0].rpartition(".")
        if type == "payment.refunded":
            row = refunds.get(int(id), {"payment_id": "?", "amount": 0})
            id = f"{row['payment_id']} {Decimal(row['amount'])}"
        sent[f"{type} {id}"] += 1
    for row in history.mails:
        if row["subject"] == "Welcome":
            sent[f"user.signup {row['user_id']}"] += 1
        elif found := re.match(r"Payment (\d+) is through", row["body"]):
            sent[f"payment.completed {found[1]}"] += 1
        elif found := re.match(r"Of payment (\d+), ([\d.]+) ", row["body"]):
            sent[f"payment.refunded {found[1]} {Decimal(found[2])}"] += 1
    return [
        *(f"No mail about {what}." for what in wanted - sent),
        *(f"{n} mails too many about {what}." for what, n in (sent - wanted).items()),
    ]


# Answers


def answers(history: History) -> list[str]:
    """What was answered fits what was asked; and what is shown, what was done."""
    good = {"sign-up": 201, "create": 201, "refund": 201}
    orders = [each for each in history.orders if each["kind"] != "again"]
    found = [
        f"{each['kind']} of customer {each['who']} ended with {each['status']}: "
        f"{str(each['answer'])[:200]}"
        for each in orders
        if each["status"] != good.get(each["kind"], 200)
    ]
    for order in orders:
        sent, answer = order["sent"], order["answer"]
        if order["kind"] == "create" and order["status"] == 201:
            fits = (
                answer["user"] == sent["user"]
                and answer["currency"] == sent["currency"]
                and Decimal(answer["amount"]) == Decimal(sent["amount"])
                and "completed_at" in answer
            )
            if not fits:
                found.append(f"Asked for {sent}, answered {answer}.")
    return found + [f"A complaint: {each['why']}" for each in history.complaints]


def replays(history: History) -> list[str]:
    """What is asked for again, is answered as it was: wherever the key has gone."""
    found = []
    for each in history.orders:
        if each["kind"] != "again":
            continue
        if [each["status"], each["answer"]] != each["first"]:
            found.append(
                f"Order {each['op']} was one before, answered {each['first']}; and "
                f"again: {each['status']} {each['answer']}."
            )
        elif not each["replayed"]:
            found.append(f"Order {each['op']} was carried out a second time.")
    return found


ROUTED = ("create", "complete", "fail", "refund", "look", "list")


def sides(history: History, settle: float = SETTLE) -> list[str]:
    """The modern side answers whom the flag lets in, and no third side answers."""
    changes = [row for row in history.flags if row["name"] == "payments-v2"]
    found = []
    for each in history.tries:
        if each["kind"] not in ROUTED or not 200 <= each["status"] < 300:
            continue
        if each["side"] not in ("legacy", "modern"):
            found.append(
                f"Order {each['op']} was answered by {each['side'] or 'nobody'}."
            )
        elif each["side"] == "modern" and not _may(changes, each, settle):
            found.append(f"Customer {each['who']} had no business on the modern side.")
    return found


def _may(changes: list[Row], attempt: Row, settle: float) -> bool:
    """Whether a state of the flag that was in force about then lets them in."""
    began, ended = attempt["at"], attempt["at"] + attempt["took"]
    settled = [row for row in changes if row["until"] + settle <= began]
    moving = [
        row for row in changes if row["at"] <= ended and row["until"] + settle > began
    ]
    return any(_lets_in(row, attempt["subject"]) for row in [*settled[-1:], *moving])


def _lets_in(row: Row, subject: str) -> bool:
    if not row["enabled"]:
        return False
    share = Decimal(str(row["percentage"]))
    if share >= 100:
        return True
    return bool(subject) and bucket(row["name"], subject) < threshold(share)


def seconds_of(history: History) -> dict[int, tuple[int, int]]:
    """By second of the run: tries that began in it, and how many succeeded."""
    start, end = _span(history)
    found: dict[int, tuple[int, int]] = {}
    for each in history.tries:
        if start <= each["at"] < end:
            number = int(each["at"] - start)
            asked, done = found.get(number, (0, 0))
            found[number] = asked + 1, done + (200 <= each["status"] < 300)
    return found


def downtime(history: History) -> list[str]:
    """Seconds in which somebody asked, and nobody was served."""
    down = [n for n, (_, done) in sorted(seconds_of(history).items()) if not done]
    return [f"In second {number} no request succeeded." for number in down]


LAST = 5.0  # Seconds of the run, in which nobody is hurt any more.
BURST = 0.05  # Of those, legacy may answer what the route's MAX_IN_FLIGHT kept out.
FLAGS = ("notifications-v2", "payments-v2")


def end(history: History) -> list[str]:
    """In the end the modern side serves all of it."""
    if history.is_control:
        return []
    found = []
    for name in FLAGS:
        changes = [row for row in history.flags if row["name"] == name]
        last = changes[-1] if changes else {"enabled": False, "percentage": 0}
        if not (last["enabled"] and last["percentage"] >= 100):
            found.append(f"In the end {name} is not on for everybody.")
    over = _span(history)[1]
    since = over - LAST
    served = [
        each
        for each in history.tries
        if since <= each["at"] < over
        and each["kind"] in ROUTED
        and 200 <= each["status"] < 300
    ]
    if not served:
        found.append("In the end nobody asked for payments.")
    legacy = sum(each["side"] != "modern" for each in served)
    if legacy > BURST * len(served):
        found.append(
            f"In the end {legacy} of {len(served)} were not served by the modern side."
        )
    found += [
        f"In the end the old path has sent {line['key']}."
        for line in history.post
        if since <= line["at"] < over and line["status"] == 201
    ]
    if history.left_behind:
        found.append(f"The monolith still has {', '.join(history.left_behind)}.")
    return found


# Figures

SLOWER = 1.3  # Times the p99 of a control run, outside of faults.
ENOUGH = 300  # Tries outside of faults, below which a p99 says nothing.


def slower(phases: list[Row], bar: float) -> list[str]:
    """The phases whose slowest hundredth takes longer than it may."""
    return [
        f"{row['name']}: p99 {row['p99'] * 1000:.0f} ms, {row['p99'] / bar:.2f} times "
        "that of the control run."
        for row in phases
        if row["calm"] >= ENOUGH and row["p99"] > SLOWER * bar
    ]


def calm_p99(history: History) -> float:
    start, over = _span(history)
    return quantile(
        [
            t["took"]
            for t in history.tries
            if start + WARM_UP <= t["at"] < over and not is_hurt(history, t)
        ],
        0.99,
    )


def _span(history: History) -> tuple[float, float]:
    return history.phases[0]["at"], history.phases[-1]["at"]


RECOVERY = 4.0  # Seconds in which processes start, and what has piled up is done.


def is_hurt(history: History, attempt: Row, after: float = RECOVERY) -> bool:
    """Whether a fault was under way, or just over."""
    return any(
        row["at"] - 0.5 <= attempt["at"] + attempt["took"]
        and attempt["at"] <= row["ended"] + after
        for row in history.faults
    )


def phases(history: History) -> list[Row]:
    """Each with its traffic, errors and times."""
    found = []
    for this, following in pairwise(history.phases):
        tries = [t for t in history.tries if this["at"] <= t["at"] < following["at"]]
        calm = [t for t in tries if not is_hurt(history, t)]
        found.append(
            {
                "name": this["name"],
                "at": this["at"],
                "seconds": following["at"] - this["at"],
                "tries": len(tries),
                "calm": len(calm),
                "errors": sum(not _is_answer(t) for t in tries),
                "modern": sum(t["side"] == "modern" for t in tries),
                "p50": quantile([t["took"] for t in calm], 0.5),
                "p99": quantile([t["took"] for t in calm], 0.99),
            }
        )
    return found


def _is_answer(attempt: Row) -> bool:
    return 0 < attempt["status"] < 500


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def figures(history: History) -> dict[str, object]:
    calm = [t["took"] for t in history.tries if not is_hurt(history, t)]
    paid = sum(Decimal(row["amount"]) for row in history.ledger)
    charged = sum(
        Decimal(line["order"]["amount"]) * (1 if line["kind"] == "charges" else -1)
        for line in history.bank
        if line["status"] == 201
    )
    return {
        "requests": len(history.tries),
        "orders": len(history.orders),
        "customers": len(history.users),
        "payments": len(history.payments),
        "refunds": len(history.refunds),
        "faults": len(history.faults),
        "errors": sum(not _is_answer(t) for t in history.tries),
        "downtime, s": len(downtime(history)),
        "money in the books": str(paid),
        "money at the bank": str(charged),
        "asked for again": sum(each["kind"] == "again" for each in history.orders),
        "replayed answers": sum(bool(each["replayed"]) for each in history.orders),
        "p50 outside of faults, ms": round(quantile(calm, 0.5) * 1000, 1),
        "p99 outside of faults, ms": round(quantile(calm, 0.99) * 1000, 1),
        **history.notes,
    }
