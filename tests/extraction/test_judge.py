"""The judge lets a good history pass, and catches each thing that may go wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from .history import History
from .judge import judge

INSIDER, OUTSIDER = "anon-3", "anon-5"  # At 50 %, by the flag's bucket.


def a_good_history() -> History:
    """A customer of each side, for two minutes; from second 10 on at 50 %."""
    history = History(seconds=120)
    history.phases = [{"at": 0.0, "name": "before"}, {"at": 120.0, "name": "after"}]
    flag = {"name": "payments-v2", "enabled": True}
    history.flags = [{**flag, "percentage": 50.0, "at": 9.5, "until": 10.0}]
    for second in range(120):
        by = [
            (1, INSIDER, "modern" if second > 15 else "legacy"),
            (2, OUTSIDER, "legacy"),
        ]
        for who, subject, side in by:
            history.tries.append(
                {
                    "at": second + 0.1,
                    "took": 0.02,
                    "who": who,
                    "op": 1000 + second,
                    "kind": "list",
                    "status": 200,
                    "side": side,
                    "subject": subject,
                }
            )
    for who in (1, 2):
        _customer(history, who)
    return history


def _customer(history: History, who: int) -> None:
    payment, refund = 10 + who, 20 + who
    money = {"amount": "30.00", "currency": "EUR"}

    def order(kind: str, status: int, sent: object, answer: object, **more: object):
        line = {"who": who, "kind": kind, "status": status, "sent": sent}
        ends = {"answer": answer, "payment": payment, "replayed": False, "op": who}
        history.orders.append({**line, **ends, **more})

    order("sign-up", 201, {"email": f"{who}@example.com"}, {"id": who})
    shown = {"id": payment, "user": who, **money, "completed_at": None}
    order("create", 201, {"user": who, **money}, shown)
    order("complete", 200, {}, {"status": "completed"})
    order("refund", 201, {"amount": "10.00"}, {"id": refund, "status": "completed"})
    history.users.append({"id": who, "email": f"{who}@example.com"})
    row = {"id": payment, "user_id": who, **money, "status": "completed"}
    history.payments.append(row)
    history.refunds.append({"id": refund, "payment_id": payment, "amount": "10.00"})
    for kind, amount in (("payment", "30.00"), ("refund", "-10.00")):
        line = {"user_id": who, "payment_id": payment, "kind": kind}
        history.ledger.append({**line, "amount": amount, "currency": "EUR"})
    charged = {"paymentId": payment, "amount": "30.00"}
    given_back = {"refundId": refund, "amount": "10.00"}
    for kind, key, ordered in (
        ("charges", f"payment-{payment}", charged),
        ("refunds", f"refund-{refund}", given_back),
    ):
        line = {"kind": kind, "key": key, "order": ordered, "status": 201}
        history.bank.append(line)
    if who == 1:
        for subject, body in (
            ("Welcome", "Your account is ready."),
            ("You paid 30.00 EUR", f"Payment {payment} is through."),
            ("You got 10.00 EUR back", f"Of payment {payment}, 10.00 EUR are on …"),
        ):
            history.mails.append({"user_id": who, "subject": subject, "body": body})
    else:
        for name in (
            f"user.signup.{who}",
            f"payment.completed.{payment}",
            f"payment.refunded.{refund}",
        ):
            key = f"<{name}@example.com>"
            history.post.append({"kind": "mails", "key": key, "status": 201})


Mutant = Callable[[History], object]


def charge_twice(history: History) -> None:
    line = copy.deepcopy(history.bank[0])
    history.bank.append({**line, "key": "another key"})


def charge_another_amount(history: History) -> None:
    history.bank[0]["order"]["amount"] = "30.01"


def answer_another_amount(history: History) -> None:
    next(o for o in history.orders if o["kind"] == "create")["answer"]["amount"] = (
        "30.01"
    )


def swap_a_side(history: History) -> None:
    next(t for t in history.tries if t["who"] == 2 and t["at"] > 60)["side"] = "modern"


def answer_from_nowhere(history: History) -> None:
    history.tries[7]["side"] = ""


def a_minute_of_503(history: History) -> None:
    for each in history.tries:
        if 30 <= each["at"] < 90:
            each["status"] = 503


def a_mail_of_both(history: History) -> None:
    key = "<payment.completed.11@example.com>"
    history.post.append({"kind": "mails", "key": key, "status": 201})


def another_order_under_a_key(history: History) -> None:
    history.bank.append({**history.bank[0], "status": 422})


def a_payment_of_nobody(history: History) -> None:
    history.payments.append({**history.payments[0], "id": 99, "status": "pending"})


def a_complaint(history: History) -> None:
    history.complaints.append({"at": 5.0, "who": 1, "why": "it is not in the list"})


MUTANTS: dict[str, tuple[Mutant, str]] = {
    "a doubled charge": (charge_twice, "too many"),
    "a charge of a cent more": (charge_another_amount, "The bank lacks"),
    "a missing charge": (lambda h: h.bank.pop(), "The bank lacks"),
    "a lost mail of the old path": (lambda h: h.post.pop(), "No mail"),
    "a lost mail of the service": (lambda h: h.mails.pop(), "No mail"),
    "a mail by both paths": (a_mail_of_both, "1 mails too many"),
    "a swapped side": (swap_a_side, "no business on the modern side"),
    "an answer from nowhere": (answer_from_nowhere, "answered by nobody"),
    "a minute of 503": (a_minute_of_503, "In second 30 no request succeeded"),
    "an answer of a cent more": (answer_another_amount, "Asked for"),
    "a lost line of the books": (lambda h: h.ledger.pop(), "The books of payment"),
    "a lost payment": (lambda h: h.payments.pop(), "is not there"),
    "a lost refund": (lambda h: h.refunds.pop(), "is not there"),
    "a payment of nobody": (a_payment_of_nobody, "rows of create"),
    "a key used twice": (another_order_under_a_key, "another order under the key"),
    "a complaint": (a_complaint, "A complaint"),
}


def test_a_good_history_passes():
    verdict = judge(a_good_history())

    assert verdict.troubles == []
    assert verdict.figures["downtime, s"] == 0
    assert verdict.figures["money in the books"] == "40.00"
    assert verdict.figures["money at the bank"] == "40.00"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name):
    mutate, words = MUTANTS[name]
    history = a_good_history()
    mutate(history)

    verdict = judge(history)

    assert any(words in each for each in verdict.troubles), verdict.troubles


def test_a_history_is_the_same_after_a_file(tmp_path: Path):
    history = a_good_history()

    history.save(tmp_path / "history.json")

    assert History.load(tmp_path / "history.json") == history


def test_a_second_without_an_answer_may_be_allowed():
    history = a_good_history()
    MUTANTS["a minute of 503"][0](history)

    down = judge(history).figures["downtime, s"]

    assert not judge(history, downtime_allowed=down - 1).is_good
    assert "no request succeeded" not in str(judge(history, downtime_allowed=down))
