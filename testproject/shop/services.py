from decimal import Decimal

from django.db import transaction

from django_strangler.sagas import start_saga

from .models import Order


@transaction.atomic
def place(*, item: str, count: int, buyer: str, amount: Decimal) -> Order:
    """Take an order; what becomes of it, its saga finds out."""
    order = Order.objects.create(item=item, count=count, buyer=buyer, amount=amount)
    start_saga(
        "checkout",
        correlation=order,
        data={
            "order": order.pk,
            "item": item,
            "count": count,
            "buyer": buyer,
            "amount": str(amount),
        },
    )
    return order
