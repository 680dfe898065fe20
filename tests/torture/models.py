"""What the business knows, and what happened: the evidence from outside the outbox."""

# ruff: noqa: DJ001, DJ008

from __future__ import annotations

from typing import Any

from django.db import models


class Account(models.Model):
    """A key: each change of its row, under a lock, is one event."""

    key = models.CharField(max_length=50, unique=True)
    count = models.PositiveIntegerField(default=0)

    class Meta:
        app_label = "torture"


class Claim(models.Model):
    """An event outside the order; with an idempotency key there may be two claims."""

    name = models.CharField(max_length=100)

    class Meta:
        app_label = "torture"


class Effect(models.Model):
    """A subscriber was here. Nothing keeps a second row of an event out."""

    event = models.UUIDField()

    class Meta:
        app_label = "torture"


class Parking(models.Model):
    """Written by a trigger whenever an event is parked, and by whom."""

    event = models.UUIDField()
    type = models.CharField(max_length=255)
    reason = models.CharField(max_length=32)
    relay = models.CharField(max_length=255, null=True)

    class Meta:
        app_label = "torture"


_INSERT = """
    INSERT INTO torture_parking (event, type, reason, relay)
    VALUES (NEW.event_id, NEW.type, NEW.parked_reason,
        (SELECT MAX(r.name) FROM strangler_relayprocess r
         JOIN strangler_lane l ON l.relay = r.token WHERE l.number = NEW.lane))
"""
TRIGGERS = {
    "postgresql": f"""
        CREATE FUNCTION torture_note_parking() RETURNS trigger AS $$
        BEGIN {_INSERT}; RETURN NULL; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER torture_parking AFTER UPDATE ON strangler_outboxevent
        FOR EACH ROW WHEN (OLD.parked_at IS NULL AND NEW.parked_at IS NOT NULL)
        EXECUTE FUNCTION torture_note_parking()
    """,
    "mysql": f"""
        CREATE TRIGGER torture_parking AFTER UPDATE ON strangler_outboxevent
        FOR EACH ROW BEGIN
        IF OLD.parked_at IS NULL AND NEW.parked_at IS NOT NULL THEN {_INSERT}; END IF;
        END
    """,
}


def create_tables(connection: Any, keys: int) -> None:
    """The tables, the trigger and the accounts."""
    with connection.schema_editor() as editor:
        for model in (Account, Claim, Effect, Parking):
            editor.create_model(model)
    with connection.cursor() as cursor:
        cursor.execute(TRIGGERS[connection.vendor])
    Account.objects.using(connection.alias).bulk_create(
        Account(key=f"key-{number}") for number in range(keys)
    )
