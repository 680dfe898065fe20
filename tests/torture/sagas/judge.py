"""
The judge: reads both databases by plain drivers, and believes nobody.

Nothing of django-strangler is in it but the names of its tables and its states.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.torture.moves.judge import query

FORWARD, UNDOING, COMPLETED, UNDONE, STUCK = range(1, 6)
# What is done for an order, and what takes it back.
UNDONE_BY = {"reserved": "released", "authorised": "voided"}
ALL = ("reserved", "authorised", "captured", "booked")
ORDER_OF = {COMPLETED: "confirmed", UNDONE: "cancelled"}
SHOWN = 5  # Of each kind of trouble.
Row = Mapping[str, Any]


@dataclass(kw_only=True)
class Evidence:
    """What both databases hold in the end."""

    sagas: Iterable[Row]
    orders: Iterable[Row]
    entries: Iterable[Row]
    items: Iterable[Row] = ()
    accounts: Iterable[Row] = ()
    stock: int = 0  # Of each item, and of each account, in the beginning.
    money: Decimal = field(default_factory=Decimal)


def read(urls: Mapping[str, str], *, stock: int, money: int) -> Evidence:
    """All of it."""
    ours, theirs = urls["orchestrators"], urls["participants"]
    return Evidence(
        sagas=query(ours, "SELECT * FROM strangler_sagas_sagarun"),
        orders=query(ours, "SELECT * FROM shop_order"),
        entries=query(theirs, "SELECT * FROM shop_entry"),
        items=query(theirs, "SELECT * FROM shop_item"),
        accounts=query(theirs, "SELECT * FROM shop_account"),
        stock=stock,
        money=Decimal(money),
    )


def judge(found: Evidence, *, stuck_is_fine: bool = True) -> list[str]:
    """What is wrong, a sentence each."""
    done: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for entry in found.entries:
        done[entry["order"]][entry["what"]] += 1
    orders = {order["id"]: order for order in found.orders}
    troubles: defaultdict[str, list[str]] = defaultdict(list)
    for order in done.keys() - orders.keys():
        troubles["done for an order that nobody has placed"].append(str(order))
    sagas = {str(saga["correlation"]).partition(":")[2]: saga for saga in found.sagas}
    for number, order in orders.items():
        saga = sagas.get(str(number))
        if saga is None:
            troubles["an order without a saga"].append(str(number))
            continue
        for what in (*_whenever(done[number]), *_by_state(saga, order, done[number])):
            troubles[what].append(f"{number} ({dict(done[number])})")
        if saga["state"] == STUCK and not stuck_is_fine:
            troubles["stuck, although everything is mended"].append(
                f"{number}, {saga['step']}: {saga['reason']}"
            )
    for what in _sums(found, orders):
        troubles["a sum is wrong"].append(what)
    return [
        f"{what}: {', '.join(which[:SHOWN])}"
        + (f" and {len(which) - SHOWN} more" if len(which) > SHOWN else "")
        for what, which in troubles.items()
    ]


def _whenever(done: Counter[str]) -> Iterable[str]:
    """Of each order, at any moment."""
    for what, times in done.items():
        if times > 1:
            yield f"{what} more than once"
    for what, back in UNDONE_BY.items():
        if done[back] > done[what]:
            yield f"{back}, and never {what}"
    for earlier, later in pairwise(ALL):
        if done[later] > done[earlier]:
            yield f"{later}, and never {earlier}"
    if done["captured"] and (done["released"] or done["voided"]):
        yield "undone behind the pivot"


def _by_state(saga: Row, order: Row, done: Counter[str]) -> Iterable[str]:
    state = saga["state"]
    if state in (FORWARD, UNDOING):
        yield "it has come to no end"
    if state == COMPLETED and any(not done[what] for what in ALL):
        yield "completed, and a step is not done"
    if state == UNDONE:
        if done["captured"] or done["booked"]:
            yield "undone, and the money is gone"
        for what, back in UNDONE_BY.items():
            if done[what] != done[back]:
                yield f"undone, and still {what}"
    if state == STUCK:
        if not saga["reason"]:
            yield "stuck for no reason"
        if not saga["undoing"] and saga["step"] not in ("capture", "ship"):
            yield "stuck where it could be undone"
        if saga["undoing"] and done["captured"]:
            yield "stuck undoing, and the money is gone"
    if order["status"] != ORDER_OF.get(state, "pending"):
        yield f"the order is {order['status']}, and its saga in state {state}"


def _sums(found: Evidence, orders: Mapping[int, Row]) -> Iterable[str]:
    left: Counter[str] = Counter()
    available: defaultdict[str, Decimal] = defaultdict(Decimal)
    held: defaultdict[str, Decimal] = defaultdict(Decimal)
    for entry in found.entries:
        order = orders.get(entry["order"])
        if order is None:
            continue
        item, buyer, amount = order["item"], order["buyer"], entry["amount"]
        left[item] += {"reserved": -1, "released": 1}.get(entry["what"], 0) * int(
            amount
        )
        available[buyer] += {"authorised": -1, "voided": 1}.get(entry["what"], 0) * (
            amount
        )
        held[buyer] += {"authorised": 1, "voided": -1, "captured": -1}.get(
            entry["what"], 0
        ) * (amount)
    for item in found.items:
        if item["left"] != found.stock + left[item["name"]]:
            yield f"{item['name']}: {item['left']} left"
    for account in found.accounts:
        owner = account["owner"]
        if account["available"] != found.money + available[owner]:
            yield f"{owner}: {account['available']} available"
        if account["held"] != held[owner]:
            yield f"{owner}: {account['held']} held"
