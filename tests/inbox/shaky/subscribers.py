"""One row per event, and every tenth event fails at first."""

from __future__ import annotations

from datetime import date

from django.db import connection
from reporting.models import Activity

from django_strangler import subscribe
from django_strangler.events import Event

_tried: set[object] = set()


@subscribe("shaky.*", name="shaky", retry_delays=[0.5] * 8)
def record(event: Event) -> None:
    Activity.objects.create(day=date(2026, 1, 1), type=f"{event.id}", count=1)
    if event.payload["number"] % 10 == 0 and event.id not in _tried:
        _tried.add(event.id)
        raise RuntimeError("the first try fails")


@subscribe("shaky.*", name="twice-would-show")
def count(event: Event) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE reporting_activity SET count = count + 1 WHERE type = 'total'"
        )
