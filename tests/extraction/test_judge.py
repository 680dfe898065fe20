"""The judge lets a good history pass, and catches each thing that may go wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .history import History
from .judge import judge

INSIDER, OUTSIDER = "anon-3", "anon-5"  # At 50 %, by the flag's bucket.


def a_good_history() -> History:
    """Two customers, for two minutes; from second 10 on at 50 %, from 100 at 100 %."""
    history = History(seconds=120)
    history.phases = [{"at": 0.0, "name": "before"}, {"at": 120.0, "name": "after"}]
    history.flags = [
        {"name": name, "enabled": True, "percentage": share, "at": at, "until": at}
        for name, share, at in (
            ("payments-v2", 50.0, 9.5),
            ("notifications-v2", 100.0, 20.0),
            ("payments-v2", 100.0, 100.0),
        )
    ]
    for second in range(120):
        by = [
            (1, INSIDER, "modern" if second > 15 else "legacy"),
            (2, OUTSIDER, "modern" if second > 105 else "legacy"),
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
        more.setdefault("first", None)
        history.orders.append({**line, **ends, **more})

    order("sign-up", 201, {"email": f"{who}@example.com"}, {"id": who})
    shown = {"id": payment, "user": who, **money, "completed_at": None}
    order("create", 201, {"user": who, **money}, shown)
    done = {"status": "completed"}
    order("complete", 200, {}, done)
    order("again", 200, {}, dict(done), first=[200, done], replayed=True)
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
            line = {"kind": "mails", "key": key, "status": 201}
            history.post.append({**line, "at": 12.0})


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
    history.post.append({"kind": "mails", "key": key, "status": 201, "at": 12.0})


def another_order_under_a_key(history: History) -> None:
    history.bank.append({**history.bank[0], "status": 422})


def a_payment_of_nobody(history: History) -> None:
    history.payments.append({**history.payments[0], "id": 99, "status": "pending"})


def a_complaint(history: History) -> None:
    history.complaints.append({"at": 5.0, "who": 1, "why": "it is not in the list"})


def asked_again(history: History) -> dict[str, Any]:
    return next(o for o in history.orders if o["kind"] == "again")


def do_it_again(history: History) -> None:
    asked_again(history)["replayed"] = False


def answer_again_otherwise(history: History) -> None:
    asked_again(history)["answer"]["status"] = "failed"


def leave_a_flag_off(history: History) -> None:
    history.flags.append({**history.flags[-1], "enabled": False, "at": 110.0})


def leave_a_flag_half_way(history: History) -> None:
    del history.flags[1]


def let_legacy_serve(history: History) -> None:
    history.tries[-1]["side"] = "legacy"


def mail_by_the_old_path(history: History) -> None:
    history.post[-1]["at"] = 119.5


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
    "a retry that is carried out": (do_it_again, "carried out a second time"),
    "a retry with another answer": (answer_again_otherwise, "and again"),
    "a flag that stays off": (leave_a_flag_off, "payments-v2 is not on"),
    "a flag half-way": (leave_a_flag_half_way, "notifications-v2 is not on"),
    "legacy serves in the end": (let_legacy_serve, "1 of 10 were not served"),
    "mails by the old path": (mail_by_the_old_path, "the old path has sent"),
    "old tables": (lambda h: h.left_behind.append("payments_payment"), "still has"),
}


def test_a_good_history_passes():
    verdict = judge(a_good_history())

    assert verdict.troubles == []
    assert verdict.figures["downtime, s"] == 0
    assert verdict.figures["money in the books"] == "40.00"
    assert verdict.figures["money at the bank"] == "40.00"


def test_a_control_run_moves_nothing():
    history = a_good_history()
    leave_a_flag_half_way(history)
    let_legacy_serve(history)
    history.is_control = True

    assert judge(history).troubles == []


def test_a_burst_beyond_what_the_route_lets_through_is_none_of_its_end():
    history = a_good_history()
    history.tries += [dict(history.tries[-1]) for _ in range(60)]
    let_legacy_serve(history)

    assert judge(history).troubles == []


def test_nobody_waits_much_longer_than_in_the_control_run():
    history, control = a_good_history(), a_good_history()
    history.tries *= 3  # Enough for a p99.
    for each in history.tries:
        each["took"] = 0.03
    assert judge(history).is_good

    verdict = judge(history, beside=control)

    assert verdict.troubles == [
        "before: p99 30 ms, 1.50 times that of the control run."
    ]
    assert judge(history, beside=history).is_good


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
