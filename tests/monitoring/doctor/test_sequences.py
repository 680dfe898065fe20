"""The doctor finds a sequence that is behind its table."""

from __future__ import annotations

from uuid import uuid4

from django.db import connections, router

from django_strangler.findings import Level
from django_strangler.inbox.models import InboxEntry
from django_strangler.monitoring.doctor.sequences import find


def test_a_sequence_behind_its_table_is_trouble_with_the_line_that_mends_it(
    postgresql_db, monkeypatch
):
    alias = postgresql_db
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
    monkeypatch.setattr(router, "db_for_read", lambda model, **hints: alias)
    InboxEntry.objects.using(alias).create(id=500, event_id=uuid4(), subscriber="a")

    outbox, inbox = find()

    assert outbox.level is Level.FINE
    assert inbox.level is Level.TROUBLE
    assert "behind strangler_inboxentry" in inbox.text
    with connections[alias].cursor() as cursor:
        cursor.execute(inbox.todo.rstrip(";"))
    assert {each.level for each in find()} == {Level.FINE}
