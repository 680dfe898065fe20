"""What a candidate does in its place, and what is left of it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import time
from collections import deque
from collections.abc import Iterator
from datetime import date

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.mail import send_mail
from django.db import (
    DatabaseError,
    IntegrityError,
    connections,
    transaction,
)
from reporting.models import Activity

from django_strangler.experiments.effects import Effect, Refused, permit, refuse
from django_strangler.experiments.isolation import Limits, TimeIsUp, isolated
from tests.experiments.sleeping import sleep_in_sql


def limits(alias: str, timeout: float = 20.0) -> Limits:
    return Limits(timeout, frozenset({alias}))


@contextlib.contextmanager
def refusing(effects: frozenset[Effect]) -> Iterator[None]:
    token = refuse(effects)
    try:
        yield
    finally:
        permit(token)


def write(alias: str, type: str) -> None:
    Activity.objects.using(alias).create(day=date(2026, 1, 1), type=type)


def run(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def written(alias: str) -> set[str]:
    return set(Activity.objects.using(alias).values_list("type", flat=True))


@pytest.fixture(params=["in a transaction", "by itself"])
def caller(request: pytest.FixtureRequest, any_db: str) -> Iterator[str]:
    """The alias of a database, with a transaction of the caller's open or not."""
    if request.param == "by itself":
        yield any_db
    else:
        with transaction.atomic(using=any_db):
            write(any_db, "callers")
            yield any_db


def may_write(alias: str) -> bool:
    """Whether a candidate may try: see the module's docstring."""
    connection = connections[alias]
    return connection.vendor == "postgresql" or not connection.in_atomic_block


def test_what_it_writes_is_gone(caller):
    if not may_write(caller):
        pytest.skip("refused there: the next test")
    before = written(caller)

    with isolated(limits(caller)):
        write(caller, "candidates")
        assert "candidates" in written(caller)

    assert written(caller) == before


@pytest.mark.parametrize("database", ["sqlite", "mariadb"])
def test_where_a_failed_write_would_end_the_caller_s_transaction_it_is_refused(
    database, make_db
):
    alias = make_db(database)

    with transaction.atomic(using=alias):
        write(alias, "callers")
        with (
            pytest.raises(Refused, match="a failed write could end it"),
            isolated(limits(alias)),
        ):
            write(alias, "candidates")

    assert written(alias) == {"callers"}


def test_its_on_commit_hooks_never_run(caller):
    called: list[str] = []
    connection = connections[caller]

    with isolated(limits(caller)):
        transaction.on_commit(lambda: called.append("candidate"), using=caller)
        with transaction.atomic(using=caller):
            transaction.on_commit(lambda: called.append("nested"), using=caller)

    assert called == []
    assert connection.run_on_commit == []


def test_the_caller_s_hooks_stay(any_db):
    called: list[str] = []

    with transaction.atomic(using=any_db):
        transaction.on_commit(lambda: called.append("caller"), using=any_db)
        with isolated(limits(any_db)):
            transaction.on_commit(lambda: called.append("candidate"), using=any_db)

    assert called == ["caller"]


def test_after_an_error_of_its_sql_the_caller_goes_on(caller):
    with pytest.raises(DatabaseError), isolated(limits(caller)):
        run(caller, "SELECT * FROM no_such_table")

    assert written(caller) is not None


def test_after_a_swallowed_error_the_caller_goes_on(postgresql_db):
    with transaction.atomic(using=postgresql_db):
        write(postgresql_db, "callers")
        with isolated(limits(postgresql_db)):
            for _ in range(2):
                try:
                    with transaction.atomic(using=postgresql_db, savepoint=False):
                        write(postgresql_db, "callers")  # Unique.
                        write(postgresql_db, "callers")
                except (IntegrityError, DatabaseError):
                    pass

    assert written(postgresql_db) == {"callers"}


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "/* well */ COMMIT",
        "-- hidden\nROLLBACK",
        "SELECT 1; COMMIT",
        "DROP TABLE reporting_activity",
        "CREATE TABLE mine (id integer)",
        "SET autocommit = 1",
        "TRUNCATE reporting_activity",
    ],
)
def test_what_would_end_the_transaction_is_refused(caller, statement):
    with pytest.raises(Refused), isolated(limits(caller)):
        run(caller, statement)

    assert connections[caller].in_atomic_block or written(caller) == set()


ENDS = {
    "close": lambda connection: connection.close(),
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "set_autocommit": lambda connection: connection.set_autocommit(True),
    "close_all": lambda connection: connections.close_all(),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_caller_s_connection_cannot_be_ended(any_db, end):
    connection = connections[any_db]
    with transaction.atomic(using=any_db):
        write(any_db, "callers")
        raw = connection.connection
        with pytest.raises(Refused), isolated(limits(any_db)):
            ENDS[end](connection)
        assert connection.connection is raw

    assert written(any_db) == {"callers"}
    connection.close()  # Allowed again.


def test_a_statement_that_sleeps_is_ended_in_the_server(caller):
    connection = connections[caller]
    began = time.monotonic()

    with pytest.raises((DatabaseError, TimeIsUp)), isolated(limits(caller, 0.2)):
        sleep_in_sql(connection, 60)

    assert time.monotonic() - began < 30
    assert written(caller) is not None


def test_many_quick_statements_end_as_well(caller):
    began = time.monotonic()

    with pytest.raises((DatabaseError, TimeIsUp)), isolated(limits(caller, 0.2)):
        deque(map(written, itertools.repeat(caller)), maxlen=0)

    assert time.monotonic() - began < 30


def test_the_caller_s_own_limit_is_in_force_again(postgresql_db):
    def limit() -> str:
        with connections[postgresql_db].cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    with transaction.atomic(using=postgresql_db):
        with connections[postgresql_db].cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '17s'")
        with isolated(limits(postgresql_db, 1.0)):
            assert limit() != "17s"
        inside = limit()

    assert inside == "17s"


def test_a_database_that_is_not_its_own_is_read_only(any_db, make_db):
    own = make_db("sqlite")

    with isolated(limits(own)):
        assert written(any_db) == set()
        with pytest.raises(Refused, match="not among the databases"):
            write(any_db, "candidates")

    assert written(any_db) == set()


def test_the_connection_of_a_database_that_is_only_read_keeps_its_limits(
    postgresql_db, sqlite_db
):
    def limit() -> str:
        with connections[postgresql_db].cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    before = limit()

    with isolated(limits(sqlite_db, 1.0)):
        written(postgresql_db)

    assert limit() == before


def test_nothing_of_the_guard_is_left(caller):
    connection = connections[caller]
    wrappers = list(connection.execute_wrappers)

    with isolated(limits(caller)):
        written(caller)

    assert connection.execute_wrappers == wrappers
    assert "close" not in vars(connection)


EVERYTHING = frozenset(Effect)


def test_a_mail_is_refused(settings):
    with pytest.raises(Refused, match=r"allow=.*mail"), refusing(EVERYTHING):
        send_mail("subject", "body", None, ["a@example.com"])

    assert mail.outbox == []


def test_a_mail_is_sent_where_it_is_allowed():
    with refusing(EVERYTHING - {Effect.MAIL}):
        send_mail("subject", "body", None, ["a@example.com"])

    assert len(mail.outbox) == 1


def test_http_is_refused_before_anything_is_sent():
    connection = http.client.HTTPConnection("127.0.0.1", 9)

    with pytest.raises(Refused, match="HTTP"), refusing(EVERYTHING):
        connection.request("GET", "/")


@pytest.mark.parametrize(
    "change",
    [
        lambda: cache.set("key", 2),
        lambda: cache.add("other", 2),
        lambda: cache.delete("key"),
        lambda: cache.incr("key"),
        lambda: cache.clear(),
        lambda: cache.set_many({"key": 2}),
    ],
)
def test_the_cache_is_read_only(change):
    cache.set("key", 1)

    with refusing(EVERYTHING):
        assert cache.get("key") == 1
        with pytest.raises(Refused):
            change()

    assert cache.get("key") == 1
    cache.clear()


def test_get_or_set_computes_and_keeps_nothing():
    with refusing(EVERYTHING):
        assert cache.get_or_set("missing", lambda: 7) == 7

    assert cache.get("missing") is None


def test_a_task_is_refused():
    from payments.tasks import expire_stale_payments

    with pytest.raises(Refused, match="task"), refusing(EVERYTHING):
        expire_stale_payments.delay()
