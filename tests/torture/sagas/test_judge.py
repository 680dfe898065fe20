"""A judge that sees nothing would call everything GOOD."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from .faults import DIES, SHARE, WAYS, fate
from .judge import COMPLETED, FORWARD, STUCK, UNDONE, Evidence, judge
from .mutants import MUTANTS

DONE = ("reserved", "authorised", "captured", "booked")
PARTLY = {"reserved": "released", "authorised": "voided"}
STATUS = {COMPLETED: "confirmed", UNDONE: "cancelled"}


def evidence(state: int, *entries: str, **saga: Any) -> Evidence:
    """One order of two books for 30, and what was done for it."""
    sums = {"left": 10, "available": Decimal(100), "held": Decimal(0)}
    changes = {
        "reserved": {"left": -2},
        "released": {"left": 2},
        "authorised": {"available": -30, "held": 30},
        "voided": {"available": 30, "held": -30},
        "captured": {"held": -30},
    }
    for entry in entries:
        for name, change in changes.get(entry, {}).items():
            sums[name] += change
    return Evidence(
        sagas=[
            {
                "correlation": "shop.order:1",
                "state": state,
                "step": "",
                "undoing": False,
                "reason": "",
                **saga,
            }
        ],
        orders=[
            {
                "id": 1,
                "item": "book",
                "buyer": "ada",
                "status": STATUS.get(state, "pending"),
            }
        ],
        entries=[
            {"order": 1, "what": each, "amount": Decimal(2 if each[1] == "e" else 30)}
            for each in entries
        ],
        items=[{"name": "book", "left": sums["left"]}],
        accounts=[
            {"owner": "ada", "available": sums["available"], "held": sums["held"]}
        ],
        stock=10,
        money=Decimal(100),
    )


@pytest.mark.parametrize(
    "found",
    [
        evidence(COMPLETED, *DONE),
        evidence(UNDONE),
        evidence(UNDONE, "reserved", "authorised", "voided", "released"),
        evidence(STUCK, *DONE[:2], step="capture", reason="open"),
        evidence(STUCK, *DONE[:3], step="ship", reason="refused"),
        evidence(STUCK, "reserved", step="reserve", undoing=True, reason="late"),
    ],
)
def test_what_is_right_is_right(found):
    assert judge(found) == []


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (evidence(COMPLETED, *DONE[:3]), "completed, and a step is not done"),
        (evidence(COMPLETED, *DONE, "captured"), "captured more than once"),
        (evidence(UNDONE, "released"), "released, and never reserved"),
        (evidence(UNDONE, "reserved"), "undone, and still reserved"),
        (evidence(UNDONE, *DONE[:3]), "undone, and the money is gone"),
        (evidence(COMPLETED, *DONE, "voided"), "undone behind the pivot"),
        (evidence(UNDONE, "booked"), "booked, and never captured"),
        (evidence(FORWARD, "reserved", step="authorise"), "come to no end"),
        (evidence(STUCK, *DONE[:2], step="capture"), "stuck for no reason"),
        (evidence(STUCK, step="reserve", reason="x"), "where it could be undone"),
    ],
)
def test_what_is_wrong_is_said(found, word):
    assert word in "\n".join(judge(found))


def test_a_sum_an_order_and_a_stranger_are_looked_at():
    found = evidence(COMPLETED, *DONE)
    found.items = [{"name": "book", "left": 7}]
    found.accounts = [{"owner": "ada", "available": Decimal(70), "held": Decimal(30)}]
    found.orders = [{**order, "status": "pending"} for order in found.orders]
    found.entries = [*found.entries, {"order": 2, "what": "booked", "amount": 1}]

    said = "\n".join(judge(found))

    assert "book: 7 left" in said
    assert "ada: 30 held" in said
    assert "the order is pending" in said
    assert "an order that nobody has placed: 2" in said


def test_once_all_is_mended_nobody_may_be_stuck():
    found = evidence(STUCK, *DONE[:2], step="capture", reason="open")

    assert "although everything is mended" in judge(found, stuck_is_fine=False)[0]


def test_the_seed_decides_whom_it_hits_and_each_way_comes():
    fates = [
        fate("1", order, step, undoing=undoing)
        for order in range(1000)
        for step in ("reserve", "authorise", "capture", "ship")
        for undoing in (False, True)
    ]
    failing = [each for each in fates if each]

    assert fates[0] == fate("1", 0, "reserve", undoing=False)
    assert set(failing) == {*WAYS, DIES}
    assert abs(len(failing) / len(fates) - SHARE) < 0.02


def test_each_mutant_says_what_it_breaks():
    assert all(each.what for each in MUTANTS.values())
