from django_strangler import subscribe
from django_strangler.events import Event

from .models import Order

ENDS = {
    "saga.completed": Order.Status.CONFIRMED,
    "saga.undone": Order.Status.CANCELLED,
}


@subscribe(*ENDS, name="shop-orders")
def settle(event: Event) -> None:
    """Tell the customer how it has ended."""
    if event.payload["saga"] == "checkout":
        Order.objects.filter(pk=event.payload["data"]["order"]).update(
            status=ENDS[event.type], reason=event.payload["reason"]
        )
