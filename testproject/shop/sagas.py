"""The saga of an order, and what the services do for it."""

from decimal import Decimal

from django.db.models import F

from django_strangler.sagas import (
    Command,
    Refused,
    Saga,
    participant,
    pivot,
    saga,
    step,
)

from .models import Account, Entry, Item


@saga("checkout", version=1)
class Checkout(Saga):
    reserve = step("stock.reserve", undo="stock.release", timeout=30, retries=2)
    authorise = step("payments.authorise", undo="payments.void", timeout=60, retries=2)
    capture = pivot("payments.capture", timeout=60, retries=5)
    ship = step("shipping.book", timeout=3600)


@participant("stock.reserve", undo="stock.release", name="stock")
def reserve(command: Command) -> None:
    name, count = command.payload["item"], command.payload["count"]
    enough = Item.objects.filter(name=name, left__gte=count)
    if not enough.update(left=F("left") - count):
        raise Refused(f"There are no {count} {name} left.")
    note(command, "reserved", count)


@reserve.undo
def release(command: Command) -> None:
    name, count = command.payload["item"], command.payload["count"]
    Item.objects.filter(name=name).update(left=F("left") + count)
    note(command, "released", count)


@participant("payments.authorise", undo="payments.void", name="bank")
def authorise(command: Command) -> None:
    """Hold the money, so that nobody else gets it."""
    buyer, amount = command.payload["buyer"], Decimal(command.payload["amount"])
    enough = Account.objects.filter(owner=buyer, available__gte=amount)
    if not enough.update(available=F("available") - amount, held=F("held") + amount):
        raise Refused(f"{buyer} has no {amount}.")
    note(command, "authorised", amount)


@authorise.undo
def void(command: Command) -> None:
    buyer, amount = command.payload["buyer"], Decimal(command.payload["amount"])
    Account.objects.filter(owner=buyer).update(
        available=F("available") + amount, held=F("held") - amount
    )
    note(command, "voided", amount)


@participant("payments.capture", name="bank")
def capture(command: Command) -> None:
    """Take what is held; there is no way back."""
    buyer, amount = command.payload["buyer"], Decimal(command.payload["amount"])
    Account.objects.filter(owner=buyer).update(held=F("held") - amount)
    note(command, "captured", amount)


@participant("shipping.book", name="shipping")
def ship(command: Command) -> dict[str, str]:
    note(command, "booked", 1)
    return {"parcel": f"P-{command.payload['order']}"}


def note(command: Command, what: str, amount: Decimal | int) -> None:
    Entry.objects.create(order=command.payload["order"], what=what, amount=amount)
