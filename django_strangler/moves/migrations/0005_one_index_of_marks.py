"""
On PostgreSQL, marks have one index instead of two: it begins with the move.

Each marked write keeps one less. To the ORM ``id`` stays the key, as it is a number that
no other mark has. MariaDB needs an index of its own for a number that it gives.
"""

import time
from functools import partial

from django.db import OperationalError, migrations, router, transaction

TABLE, KEY, OF = (
    "strangler_moves_mark",
    "strangler_moves_mark_pkey",
    "strangler_moves_of",
)
NEW = f"{OF}_new"
TRIES = 120  # Each waits for a fifth of a second, and so do writers behind it.


def _key_is(constraint, columns, apps, schema_editor):
    connection = schema_editor.connection
    mark = apps.get_model("strangler_moves", "Mark")
    if connection.vendor != "postgresql":
        return
    if not router.allow_migrate_model(connection.alias, mark):
        return
    beside = "" if connection.in_atomic_block else "CONCURRENTLY"

    def build(name, what, columns):
        # What an interrupted one has left goes first.
        schema_editor.execute(f"DROP INDEX {beside} IF EXISTS {name}")
        schema_editor.execute(f"CREATE {what} {beside} {name} ON {TABLE} ({columns})")

    build(NEW, "UNIQUE INDEX", columns)
    _at_once(
        schema_editor,
        f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {KEY}, "
        f"DROP CONSTRAINT IF EXISTS {OF}",
        f"DROP INDEX IF EXISTS {OF}",
        f"ALTER TABLE {TABLE} ADD CONSTRAINT {constraint} PRIMARY KEY USING INDEX {NEW}",
    )
    if constraint == KEY:
        build(OF, "INDEX", "move, id")


def _at_once(schema_editor, *statements):
    """All or none; it gives up rather than stall writers, and tries again."""
    for left in reversed(range(TRIES)):
        try:
            with transaction.atomic(using=schema_editor.connection.alias):
                schema_editor.execute("SET LOCAL lock_timeout = '200ms'")
                for each in statements:
                    schema_editor.execute(each)
            return
        except OperationalError:
            if not left:
                raise
            time.sleep(0.5)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("strangler_moves", "0004_marks_by_move")]

    operations = [
        migrations.RunPython(
            partial(_key_is, OF, "move, id"), partial(_key_is, KEY, "id")
        ),
    ]
