"""One row for each event that counts; and one who fails whenever that is asked for."""

from __future__ import annotations

from datetime import date
from uuid import uuid4

from reporting.models import Activity

from django_strangler import subscribe
from django_strangler.events import Event


def asked(event: Event, name: str) -> object:
    return event.payload.get(name) if isinstance(event.payload, dict) else None


@subscribe("payment.*", "payout.*", name="counts")
def count(event: Event) -> None:
    if (number := asked(event, "good")) is not None:
        type = f"{number}-{uuid4()}"
        Activity.objects.create(day=date(2026, 1, 1), type=type, count=0)


@subscribe("payment.*", name="fails")
def fail(event: Event) -> None:
    if text := asked(event, "fail"):
        raise ValueError(text)
