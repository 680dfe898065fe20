"""What somebody forgets on the first day, and what the answer is."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction


@pytest.fixture
def unmigrated(db):
    """A database in which the app's tables have not been made yet."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            for table in ("relayprocess", "flag", "flagversion"):
                cursor.execute(f"ALTER TABLE strangler_{table} RENAME TO away_{table}")
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "command", [("drain_outbox", "--once", "--patience", "0"), ("flag", "list")]
)
def test_a_command_says_that_the_tables_are_missing(unmigrated, command):
    with pytest.raises(CommandError) as raised:
        call_command(*command)

    assert "manage.py migrate strangler" in str(raised.value)
