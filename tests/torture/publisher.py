"""
A publisher: a process that changes accounts under row locks and publishes each change.

    python -m tests.torture.publisher SEED RATE

Until it is killed. Some transactions roll back, some are slow to commit. Besides the
events in order there are delayed ones, some without a key, some with an idempotency key
that two publishers race for, and some that the broker does not want.
"""

from __future__ import annotations

import os
import random
import sys
import time

KEYS, HOT_KEYS = 400, 6
NOTE = "x" * 150
RACE = 0.4  # Seconds for which all publishers use the same idempotency key.
TOO_LARGE = 40_000  # Bytes; the broker is told to take 32 KiB.
HANDLED = ("torture.handled", "torture.loose", "torture.once", "torture.delayed")
# Per publisher, one in so many transactions.
RARE = {
    "large": 1500,
    "forbidden": 500,
    "orphan": 300,
    "refused": 300,
    "full": 100,
    "stuck": 100,
}


def type_of(number: int) -> str:
    """Of an event in order."""
    return "torture.counted" if number % 3 else "torture.handled"


def is_handled(name: str, number: int) -> bool:
    """Whether a subscriber wants this event."""
    return (type_of(number) if number else name.partition(":")[0]) in HANDLED


class Regret(Exception):
    """Roll back."""


class Publisher:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.prefix = f"{seed}-{os.getpid()}"
        self.number = 0

    def turn(self) -> int:
        """One transaction; says how many events it published."""
        from django.db import transaction

        with transaction.atomic():
            count = self._publish()
            dice = self.chance.random()
            if dice < 0.05:
                raise Regret
            if dice < 0.12:
                time.sleep(0.03)  # Slow to commit: a younger id is visible before.
            elif dice < 0.122:
                time.sleep(1)
        return count

    def _publish(self) -> int:
        for kind, one_in in RARE.items():
            if self.chance.randrange(one_in) == 0:
                return self._rare(kind)
        dice = self.chance.random()
        if dice < 0.06:
            return self._loose("torture.loose")
        if dice < 0.10:
            delay = self.chance.uniform(0.1, 2.0)
            return self._loose("torture.delayed", key=self._key(), delay=delay)
        if dice < 0.16:
            return self._once()
        if dice < 0.40:
            # Fought for: transactions wait for each other's commit.
            return self._change([self._key(HOT_KEYS)], 1)
        if dice < 0.60:
            return self._change([self._key()], 1)
        if dice < 0.85:
            return self._change([self._key()], self.chance.randrange(2, 20))
        keys = {self._key() for _ in range(self.chance.randrange(2, 12))}
        return self._change(sorted(keys), self.chance.randrange(1, 7))

    def _key(self, among: int = KEYS) -> str:
        return f"key-{self.chance.randrange(among)}"

    def _change(self, keys: list[str], count: int) -> int:
        """In order: each number of a key is published while its row is locked."""
        from django_strangler import publish_event, publish_events
        from django_strangler.events import Event

        from .models import Account

        rows = Account.objects.select_for_update().filter(key__in=keys).order_by("id")
        events = []
        for row in rows:
            events += [
                Event(
                    type=type_of(number),
                    payload={"name": row.key, "number": number, "note": NOTE},
                    key=row.key,
                )
                for number in range(row.count + 1, row.count + 1 + count)
            ]
            row.count += count
            row.save(update_fields=["count"])
        if len(events) == 1:
            publish_event(events[0].type, events[0].payload, key=events[0].key)
        else:
            publish_events(events)
        return len(events)

    def _loose(self, type: str, *, note: str = NOTE, **options: object) -> int:
        """Outside the order."""
        from django_strangler import publish_event

        from .models import Claim

        self.number += 1
        name = f"{type}:{self.prefix}-{self.number}"
        Claim.objects.create(name=name)
        publish_event(type, {"name": name, "number": 0, "note": note}, **options)
        return 1

    def _once(self) -> int:
        from django_strangler import publish_event

        from .models import Claim

        name = f"torture.once:{int(time.time() / RACE)}"
        Claim.objects.create(name=name)
        publish_event("torture.once", {"name": name, "number": 0}, idempotency_key=name)
        return 1

    def _rare(self, kind: str) -> int:
        from django_strangler.exceptions import PayloadTooLarge

        if kind == "large":
            return self._loose("torture.large", note="x" * TOO_LARGE)
        if kind == "forbidden":
            return self._loose("forbidden.word", key=f"forbidden-{self.prefix}")
        if kind in ("orphan", "full", "stuck"):
            # Of a key of its own: what is held keeps the later events of its key.
            return self._loose(f"{kind}.word", key=f"{kind}-{self.prefix}")
        try:
            self._loose("torture.loose", note="x" * 1_000_000)
        except PayloadTooLarge:
            raise Regret from None
        raise AssertionError("An event over MAX_PAYLOAD_BYTES was published.")


def main(seed: int, rate: float) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.torture.settings")
    import django

    django.setup()
    from django.db import DatabaseError, InterfaceError, connection

    publisher = Publisher(seed)
    due = time.monotonic()
    while True:
        try:
            due = max(due, time.monotonic() - 1) + publisher.turn() / rate
        except Regret:
            continue
        except (DatabaseError, InterfaceError):
            connection.close()
            time.sleep(0.1)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
