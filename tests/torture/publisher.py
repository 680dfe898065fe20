"""
A publisher: a process that changes keys under a row lock and publishes each change.

    python -m tests.torture.publisher SEED

Until it is killed. Some transactions roll back, some are slow to commit, some publish
several events or one that nobody may see twice.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import date

KEYS = 100
DAY = date(2026, 1, 1)


class Regret(Exception):
    """Roll back."""


def main(seed: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.db import DatabaseError, InterfaceError, connection

    chance = random.Random(seed)
    while True:
        try:
            change(chance)
        except Regret:
            continue
        except (DatabaseError, InterfaceError):
            connection.close()
            time.sleep(0.1)


def change(chance: random.Random) -> None:
    from django.db import transaction
    from reporting.models import Activity

    from django_strangler import publish_event, publish_events
    from django_strangler.events import Event

    key = f"key-{chance.randrange(KEYS)}"
    count = chance.choice([1, 1, 1, 3])
    with transaction.atomic():
        row = Activity.objects.select_for_update().get(day=DAY, type=key)
        events = [
            Event(
                type=f"torture.{'odd' if number % 2 else 'even'}",
                payload={"key": key, "number": number, "note": "x" * 200},
                key=key,
            )
            for number in range(row.count + 1, row.count + 1 + count)
        ]
        row.count += count
        row.save(update_fields=["count"])
        if count == 1:
            event = events[0]
            publish_event(event.type, event.payload, key=key)
        else:
            publish_events(events)
        dice = chance.random()
        if dice < 0.05:
            raise Regret
        if dice < 0.10:
            time.sleep(0.03)  # Slow to commit: a younger id is visible before.


if __name__ == "__main__":
    main(int(sys.argv[1]))
