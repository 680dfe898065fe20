"""A shop of three services, in one process."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import router, transaction

from django_strangler.inbox import subscribers as inbox
from django_strangler.sagas import (
    Refused,
    Saga,
    definitions,
    participant,
    pivot,
    saga,
    start_saga,
    step,
)
from django_strangler.sagas.exceptions import InvalidSaga
from tests.inbox.databases import effect


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sagas and subscribers but those of the test, and our own."""
    from django_strangler.sagas import moving
    from django_strangler.sagas import subscribers as ours

    monkeypatch.setattr(definitions.registry, "_known", {})
    monkeypatch.setattr(definitions.registry, "_discovered", True)
    monkeypatch.setattr(inbox.registry, "_by_name", {})
    monkeypatch.setattr(inbox.registry, "_discovered", True)
    for type, name, handler in (
        ("saga.reply", ours.REPLIES, ours.reply),
        ("saga.timeout", ours.TIMEOUTS, ours.timeout),
    ):
        inbox.subscribe(type, name=name, final_errors=[InvalidSaga])(handler)
    inbox.subscribe(*moving.ENDS.values(), name=ours.ANNOUNCEMENTS)(ours.announced)


@pytest.fixture
def alias(any_db_rolled_back: str, monkeypatch: pytest.MonkeyPatch) -> str:
    alias = any_db_rolled_back
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
    return alias


class Shop:
    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.calls: list[str] = []
        self.poor = self.closed = False

    def start(self, order: str = "order-1", **data: Any) -> Any:
        with transaction.atomic(using=self.alias):
            return start_saga("checkout", correlation=order, data=data)

    def did(self, what: str) -> None:
        self.calls.append(what)
        effect(self.alias, what)


@pytest.fixture
def shop(alias: str) -> Shop:
    shop = Shop(alias)

    @saga("checkout", version=1)
    class Checkout(Saga):
        reserve = step("stock.reserve", undo="stock.release", retries=2)
        book = step("ledger.book", undo="ledger.unbook", retries=1)
        charge = pivot("payment.charge", retries=2)
        ship = step("shipping.order", retries=2)

    @participant("stock.reserve", undo="stock.release", name="stock")
    def reserve(command):
        shop.did("reserve")
        return {"reservation": str(command.op)}

    @reserve.undo
    def release(command):
        shop.did("release")

    @participant("ledger.book", undo="ledger.unbook", name="ledger")
    def book(command):
        shop.did("book")

    @book.undo
    def unbook(command):
        shop.did("unbook")
        if shop.closed:
            raise Refused("Closed.")

    @participant("payment.charge", name="bank")
    def charge(command):
        shop.did("charge")
        if shop.poor:
            raise Refused("There is no money.")

    @participant("shipping.order", name="shipping")
    def ship(command):
        shop.did("ship")
        if shop.closed:
            raise Refused("Closed.")

    return shop
