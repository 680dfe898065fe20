"""Whether sequences are ahead of their tables."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.databases import fetch
from django_strangler.findings import Finding, Level
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.models import InboxEntry
from django_strangler.outbox.models import OutboxEvent, outbox_alias

_WHAT: dict[type[models.Model], str] = {
    OutboxEvent: "publishing fails, or later events of a key get lower ids",
    InboxEntry: "subscribers wait until it has passed the ids that are taken",
}


def find() -> Iterator[Finding]:
    """A logical replication or a restore of the data alone leaves them behind."""
    for model, alias in ((OutboxEvent, outbox_alias()), (InboxEntry, inbox_alias())):
        connection = connections[alias]
        if connection.vendor == "postgresql":
            yield from _of(connection, model)


def _of(
    connection: BaseDatabaseWrapper, model: type[models.Model]
) -> Iterator[Finding]:
    table = model._meta.db_table
    ((name,),) = fetch(connection, "SELECT pg_get_serial_sequence(%s, 'id')", [table])
    if name is None:
        return  # Another examination says so.
    ((last, is_called),) = fetch(
        connection, f"SELECT last_value, is_called FROM {name}"
    )
    ((highest,),) = fetch(connection, f"SELECT max(id) FROM {table}")
    next_id = last + 1 if is_called else last
    if highest is None or next_id > highest:
        yield Finding(Level.FINE, f"The sequence of {table} is ahead of its ids")
        return
    yield Finding(
        Level.TROUBLE,
        f"The sequence {name} is behind {table}: its next id is {next_id}, and "
        f"{highest} is taken; {_WHAT[model]}",
        f"SELECT setval('{name}', (SELECT max(id) FROM {table}));",
    )
