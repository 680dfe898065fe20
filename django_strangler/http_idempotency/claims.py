"""
The claim on a key, as SQL: one INSERT before the view, one UPDATE after it.

Plain SQL rather than the ORM: it is the price of every request, an INSERT has to say
for how long it waits, and a look may need a connection beside the request's own. What
each request sends has the same text each time, and few parameters: a driver that
prepares statements does so, another one has less to write, and the cursor is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql, seconds_until_sql
from django_strangler.databases import execute_again, fetch, is_transient

from .models import IdempotentRequest, State


class Busy(Exception):
    """Another transaction holds the key, or won it; this one is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request with a key, before anybody knows whether it is the first."""

    digest: str
    scope: str
    key: str
    fingerprint: str
    route: str
    retention: float
    table: str = IdempotentRequest._meta.db_table
    # Sent without dashes: right for a native uuid and for char(32) alike. MariaDB's own
    # type, which Django uses from 10.7 on, reads it as well.
    owner: UUID | None = None
    lease: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The row that another request has committed."""

    fingerprint: str
    state: State
    status: int | None
    headers: Mapping[str, str]
    body: bytes
    body_omitted: bool
    point: str | None
    remaining: float | None  # Seconds of its lease; negative once it is past.


def insert(connection: BaseDatabaseWrapper, claim: Claim, *, wait: float) -> bool:
    """
    Claim the key; whether it was free.

    Another transaction that has claimed it and not committed yet is waited for, so long
    at most; on PostgreSQL the caller asks again instead.
    """
    sql = _statements(connection, claim).insert
    params: list[Any] = [
        claim.digest,
        claim.scope.replace("\0", "")[:255],
        claim.key,
        claim.fingerprint,
        claim.route[:255],
        claim.retention,
    ]
    if claim.owner is not None:
        params += [claim.owner.hex, claim.lease]
    if connection.vendor == "mysql":
        return _insert_mysql(connection, sql, params, wait)
    if connection.vendor == "postgresql":
        number = int.from_bytes(bytes.fromhex(claim.digest[:16]), "big", signed=True)
        params.append(number)
    # SQLite has one writer: BEGIN or this waits as long as its timeout says.
    return bool(execute_again(connection, sql, params).rowcount)


def _insert_mysql(
    connection: BaseDatabaseWrapper, sql: str, params: list[Any], wait: float
) -> bool:
    seconds = max(1, math.ceil(wait))
    try:
        if connection.mysql_is_mariadb:  # type: ignore[attr-defined]
            sql = f"SET STATEMENT innodb_lock_wait_timeout = {seconds} FOR {sql}"
            execute_again(connection, sql, params)
        else:
            with connection.cursor() as cursor, _patience(cursor, seconds):
                cursor.execute(sql, params)
    except IntegrityError:
        return False  # Which ends the statement, and not the transaction.
    return True


@contextmanager
def _patience(cursor: Any, seconds: int) -> Iterator[None]:
    cursor.execute(
        "SET @strangler_wait = @@innodb_lock_wait_timeout, "
        f"innodb_lock_wait_timeout = {seconds}"
    )
    try:
        yield
    finally:
        cursor.execute("SET innodb_lock_wait_timeout = @strangler_wait")


def find(connection: BaseDatabaseWrapper, claim: Claim) -> Found | None:
    """The row of this key, as far as this connection's snapshot shows it."""
    rows = fetch(
        connection,
        "SELECT fingerprint, state, status, headers, body, body_omitted, point, "
        f"{seconds_until_sql(connection, 'locked_until')} "
        f"FROM {_table(connection, claim)} WHERE digest = %s",
        [claim.digest],
    )
    for fingerprint, state, status, headers, body, omitted, point, remaining in rows:
        return Found(
            fingerprint=fingerprint,
            state=State(state),
            status=status,
            headers=json.loads(headers) if headers else {},
            body=bytes(body or b""),
            body_omitted=bool(omitted),
            point=point,
            remaining=remaining,
        )
    return None


def sees_commits(connection: BaseDatabaseWrapper) -> bool:
    """Whether each statement of an open transaction sees what others have committed."""
    if connection.vendor != "postgresql":
        return False
    sql = "SELECT current_setting('transaction_isolation')"
    return fetch(connection, sql) == [("read committed",)]


def find_outside(connection: BaseDatabaseWrapper, claim: Claim) -> Found | None:
    """
    What others have committed, asked on a connection of its own.

    For a transaction that is broken, or whose snapshot is older: a locking read would
    see it, and two of them deadlock on MariaDB.
    """
    other = connection.copy()
    try:
        return find(other, claim)
    finally:
        other.close()


def store(
    connection: BaseDatabaseWrapper,
    claim: Claim,
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,  # None: it is too long.
) -> bool:
    """Keep the answer; whether the claim was still held."""
    statements = _statements(connection, claim)
    sql = statements.finish_without_body if body is None else statements.finish
    params: list[Any] = [status, json.dumps(headers)]
    if body is not None:
        params.append(connection.Database.Binary(body))  # type: ignore[attr-defined]
    params.append(claim.digest)
    if claim.owner is not None:
        params.append(claim.owner.hex)
    return bool(execute_again(connection, sql, params).rowcount)


def advance(connection: BaseDatabaseWrapper, claim: Claim, point: str) -> bool:
    """Write down a step, and hold on; whether the claim was still held."""
    change = f"UPDATE {{}} SET point = %s, locked_until = {now_sql(connection, '%s')}"
    return _change(connection, claim, change, point, claim.lease)


def give_up(connection: BaseDatabaseWrapper, claim: Claim) -> None:
    """The view has failed after a step: nobody knows what it has done."""
    _change(connection, claim, "UPDATE {} SET state = %s", State.UNKNOWN.value)


def give_back(connection: BaseDatabaseWrapper, claim: Claim) -> None:
    """The view has failed before its first step: the key is free again."""
    _change(connection, claim, "DELETE FROM {}")


def take_over(
    connection: BaseDatabaseWrapper, claim: Claim, *, run_again: bool
) -> bool:
    """
    Take the claim of a process whose lease is past; whether nobody was quicker.

    Either to run the view again from its last step, or to mark that nobody knows.
    """
    params: list[Any] = []
    state, sets = State.UNKNOWN, ""
    if run_again:
        state = State.STARTED
        sets = f", owner = %s, locked_until = {now_sql(connection, '%s')}"
        params = [claim.owner.hex if claim.owner else None, claim.lease]
    past = f"state = {State.STARTED.value} AND locked_until < {now_sql(connection)}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_table(connection, claim)} SET state = {state.value}{sets} "
            f"WHERE digest = %s AND {past}",
            [*params, claim.digest],
        )
        return bool(cursor.rowcount)


def _change(
    connection: BaseDatabaseWrapper, claim: Claim, sql: str, *params: Any
) -> bool:
    assert claim.owner is not None, 'A claim is in mode "steps" if it has an owner.'
    with connection.cursor() as cursor:
        cursor.execute(
            f"{sql.format(_table(connection, claim))} WHERE digest = %s AND owner = %s",
            [*params, claim.digest, claim.owner.hex],
        )
        return bool(cursor.rowcount)


@contextmanager
def told_busy() -> Iterator[None]:
    """Raise ``Busy`` if others are in the way, rather than the database away."""
    try:
        yield
    except OperationalError as error:
        if is_transient(error):
            raise Busy(str(error)) from error
        raise


class _Statements(NamedTuple):
    insert: str
    finish: str
    finish_without_body: str


def _statements(connection: BaseDatabaseWrapper, claim: Claim) -> _Statements:
    return _made(
        connection.vendor,
        _table(connection, claim),
        connection.ops.quote_name("key"),
        # Other texts in summer, where DATABASES names a time zone.
        now_sql(connection),
        now_sql(connection, "%s"),
        claim.owner is not None,
    )


@lru_cache(maxsize=100)  # They are the same for each request.
def _made(
    vendor: str, table: str, key: str, now: str, later: str, in_steps: bool
) -> _Statements:
    names = f"digest, scope, {key}, fingerprint, route, state, created_at, expires_at"
    values = f"%s, %s, %s, %s, %s, {State.STARTED.value}, {now}, {later}"
    released = where = ""
    if in_steps:
        names += ", owner, locked_until"
        values += f", %s, {later}"
        released, where = ", owner = NULL, locked_until = NULL", " AND owner = %s"
    rows, unless, mark = f"VALUES ({values})", " ON CONFLICT (digest) DO NOTHING", "%s"
    if vendor == "postgresql":
        # INSERT alone would wait for whoever has the key, for as long as his
        # transaction takes. A lock that ends with the transaction says at once that it
        # is taken, and costs less than to set lock_timeout and to set it back.
        rows = f"SELECT {values} WHERE pg_try_advisory_xact_lock(%s)"
    elif vendor == "mysql":
        unless, mark = "", "_binary %s"  # The latter as Django's own BinaryField.
    # In mode "transaction" no column with an index: PostgreSQL then writes to none.
    finish = (
        f"UPDATE {table} SET state = {State.FINISHED.value}, finished_at = {now}, "
        f"status = %s, headers = %s{released}, "
    )
    return _Statements(
        f"INSERT INTO {table} ({names}) {rows}{unless}",
        f"{finish}body = {mark} WHERE digest = %s{where}",
        f"{finish}body_omitted = TRUE WHERE digest = %s{where}",
    )


def _table(connection: BaseDatabaseWrapper, claim: Claim) -> str:
    return connection.ops.quote_name(claim.table)
