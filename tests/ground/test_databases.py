"""What every database must do alike: claim once, tell what passes."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_strangler import databases
from django_strangler.clock import DatabaseNow
from django_strangler.databases import statements
from django_strangler.models import InboxEntry

TABLE = InboxEntry._meta.db_table


def claim(alias: str, event_id: UUID, **values: object) -> bool:
    return databases.claim_once(
        connections[alias],
        TABLE,
        values={
            "event_id": event_id,
            "subscriber": "receipts",
            "event_type": "a.b",
            "handled_at": DatabaseNow(),
            **values,
        },
        unique=("event_id", "subscriber"),
    )


def test_of_two_claims_of_the_same_the_first_gets_it(any_db):
    event_id = uuid4()

    with transaction.atomic(using=any_db):
        assert claim(any_db, event_id)
        assert not claim(any_db, event_id)
        assert claim(any_db, event_id, subscriber="mails")

    found = InboxEntry.objects.using(any_db).filter(event_id=event_id)
    assert sorted(found.values_list("subscriber", flat=True)) == ["mails", "receipts"]


def test_a_claim_that_is_refused_leaves_the_transaction_whole(any_db):
    event_id = uuid4()
    claim(any_db, event_id)

    with transaction.atomic(using=any_db):
        assert not claim(any_db, event_id)
        assert claim(any_db, event_id, subscriber="mails")

    assert InboxEntry.objects.using(any_db).filter(event_id=event_id).count() == 2


@pytest.mark.parametrize(
    "values", [{"event_type": None}, {"id": 5}], ids=["null", "another key"]
)
def test_every_other_violation_raises_and_breaks_the_transaction(any_db, values):
    event_id = uuid4()
    claim(any_db, uuid4(), id=5)

    with transaction.atomic(using=any_db):
        with pytest.raises(IntegrityError):
            claim(any_db, event_id, **values)
        assert connections[any_db].needs_rollback

    assert not InboxEntry.objects.using(any_db).filter(event_id=event_id).exists()


def test_a_claim_waits_for_another_and_gets_it_when_that_is_rolled_back(any_db):
    event_id = uuid4()
    answers: list[bool] = []

    def other() -> None:
        try:
            with transaction.atomic(using=any_db):
                answers.append(claim(any_db, event_id))
        finally:
            connections[any_db].close()

    thread = threading.Thread(target=other)
    with transaction.atomic(using=any_db):
        claim(any_db, event_id)
        thread.start()
        # Not before the first is over, however long that takes.
        thread.join(0.2)
        assert not answers
        transaction.set_rollback(True, using=any_db)
    thread.join(30)

    assert answers == [True]


def test_no_transaction_is_open_until_one_is(any_db):
    connection = connections[any_db]
    connection.ensure_connection()

    assert not databases.in_transaction(connection)
    with transaction.atomic(using=any_db):
        assert databases.in_transaction(connection)


def test_an_error_that_is_no_database_s_does_not_pass():
    assert not databases.is_transient(ValueError("database is locked"))


def test_rows_are_fetched_with_their_parameters(any_db):
    assert databases.fetch(connections[any_db], "SELECT %s", [5])[0][0] == 5


def test_mariadb_s_number_counts_and_not_its_state():
    """Drivers give both, and the state of nearly all errors is HY000."""
    cause = Exception()
    cause.sqlstate = "HY000"
    error = OperationalError(1205, "Lock wait timeout exceeded")
    error.__cause__ = cause

    assert databases.is_transient(error)


def kept(alias: str) -> dict[str, Any]:
    return statements._kept.by_text(connections[alias])


def test_a_text_that_is_executed_again_finds_its_cursor(any_db):
    cursors = []
    for _ in range(2):
        with transaction.atomic(using=any_db):
            claim(any_db, uuid4())
            claim(any_db, uuid4())
            cursors += kept(any_db).values()

    assert len(cursors) == 2
    assert cursors[0] is cursors[1]


def test_a_new_connection_gets_a_new_cursor(any_db):
    event_id = uuid4()
    for _ in range(2):
        with transaction.atomic(using=any_db):
            claim(any_db, event_id)
        connections[any_db].close()

    assert InboxEntry.objects.using(any_db).filter(event_id=event_id).count() == 1


def test_a_cursor_that_is_kept_hides_no_statement(any_db):
    with transaction.atomic(using=any_db):
        claim(any_db, uuid4())

    with (
        CaptureQueriesContext(connections[any_db]) as seen,
        transaction.atomic(using=any_db),
    ):
        claim(any_db, uuid4())

    assert sum(TABLE in each["sql"] for each in seen) == 1


def test_few_cursors_are_kept(any_db):
    with transaction.atomic(using=any_db):
        for number in range(100):
            databases.execute_again(connections[any_db], f"SELECT {number}", [])

        assert 0 < len(kept(any_db)) <= statements.MOST_KEPT + 1
