"""
The shop: takes orders, one after the other; or a person, who retries what is stuck.

    python -m tests.torture.sagas.shop orders 1000
    python -m tests.torture.sagas.shop retry
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from decimal import Decimal

import django

ITEMS, BUYERS = 20, 50
UNDER_WAY = 120  # Sagas at a time.


def main() -> None:
    django.setup()
    verb, *numbers = sys.argv[1:]
    if verb == "retry":
        retry()
    else:
        take_orders(int(numbers[0]))


def take_orders(until: int) -> None:
    from shop.models import Order
    from shop.services import place

    from django_strangler.sagas import SagaRun
    from django_strangler.sagas.models import States

    # Whoever goes on after a kill begins where the tables end.
    for number in range(Order.objects.count(), until):
        place(
            item=f"item-{number % ITEMS}",
            count=1 + number % 3,
            buyer=f"buyer-{number % BUYERS}",
            amount=Decimal(100 + number % 7) / 10,
        )
        moving = SagaRun.objects.filter(state__in=(States.FORWARD, States.UNDOING))
        while number % 10 == 0 and moving.count() > UNDER_WAY:
            time.sleep(0.05)


def retry() -> None:
    from django_strangler.sagas import SagaRun, resolving
    from django_strangler.sagas.exceptions import InvalidSaga

    for run in SagaRun.objects.stuck():
        with suppress(InvalidSaga):  # It has freed itself meanwhile.
            resolving.retry(run, by="torture", why="Everything is mended.")


if __name__ == "__main__":
    main()
