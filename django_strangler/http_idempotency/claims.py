"""
The claim on a key, as SQL: one INSERT before the view, one UPDATE after it.

Plain SQL rather than the ORM: it is the price of every request, an INSERT has to say
for how long it waits, and a look may need a connection beside the request's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql, seconds_until_sql
from django_strangler.databases import is_transient

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
    values: dict[str, Any] = {
        "digest": claim.digest,
        "scope": claim.scope.replace("\0", "")[:255],
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "route": claim.route[:255],
        "state": State.STARTED.value,
    }
    sql = ["%s"] * len(values) + [now_sql(connection), now_sql(connection, "%s")]
    names = [*values, "created_at", "expires_at"]
    params = [*values.values(), claim.retention]
    if claim.owner is not None:
        names += ["owner", "locked_until"]
        sql += ["%s", now_sql(connection, "%s")]
        params += [_uuid(connection, claim.owner), claim.lease]
    into = f"INSERT INTO {_table(connection, claim)} ({_names(connection, names)})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            return _insert_postgresql(cursor, into, sql, params, claim.digest)
        if connection.vendor == "mysql":
            return _insert_mysql(connection, cursor, into, sql, params, wait)
        # SQLite has one writer: BEGIN or this waits as long as its timeout says.
        cursor.execute(
            f"{into} VALUES ({', '.join(sql)}) ON CONFLICT (digest) DO NOTHING", params
        )
        return bool(cursor.rowcount)


def _insert_postgresql(
    cursor: Any, into: str, sql: list[str], params: list[Any], digest: str
) -> bool:
    # INSERT alone would wait for whoever has the key, for as long as his transaction
    # takes. A lock that ends with the transaction says at once that it is taken, and
    # costs less than to set lock_timeout and to set it back.
    cursor.execute(
        f"{into} SELECT {', '.join(sql)} WHERE pg_try_advisory_xact_lock(%s) "
        "ON CONFLICT (digest) DO NOTHING",
        [*params, int.from_bytes(bytes.fromhex(digest[:16]), "big", signed=True)],
    )
    return bool(cursor.rowcount)


def _insert_mysql(
    connection: Any,
    cursor: Any,
    into: str,
    sql: list[str],
    params: list[Any],
    wait: float,
) -> bool:
    statement, seconds = f"{into} VALUES ({', '.join(sql)})", max(1, math.ceil(wait))
    try:
        if connection.mysql_is_mariadb:
            cursor.execute(
                f"SET STATEMENT innodb_lock_wait_timeout = {seconds} FOR {statement}",
                params,
            )
        else:
            with _patience(cursor, seconds):
                cursor.execute(statement, params)
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
    names = (
        "fingerprint", "state", "status", "headers", "body", "body_omitted", "point",
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_names(connection, names)}, "
            f"{seconds_until_sql(connection, 'locked_until')} "
            f"FROM {_table(connection, claim)} WHERE digest = %s",
            [claim.digest],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    found = dict(zip((*names, "remaining"), row, strict=True))
    headers = found["headers"]
    found |= {
        "state": State(found["state"]),
        "headers": json.loads(headers) if headers else {},
        "body": bytes(found["body"] or b""),
        "body_omitted": bool(found["body_omitted"]),
    }
    return Found(**found)


def sees_commits(connection: BaseDatabaseWrapper) -> bool:
    """Whether each statement of an open transaction sees what others have committed."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        return bool(cursor.fetchone()[0] == "read committed")


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
    *,
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
) -> bool:
    """Keep the answer; whether the claim was still held. No body: it is too long."""
    database: Any = connection
    binary = None if body is None else database.Database.Binary(body)
    # As Django's own BinaryField writes it.
    mark = "_binary %s" if connection.vendor == "mysql" and binary else "%s"
    return _update(
        connection,
        claim,
        {
            "state": ("%s", State.FINISHED.value),
            "status": ("%s", status),
            "headers": ("%s", json.dumps(dict(headers))),
            "body": (mark, binary),
            "body_omitted": ("%s", body is None),
            "finished_at": (now_sql(connection),),
            "owner": ("%s", None),
            "locked_until": ("%s", None),
        },
    )


def advance(connection: BaseDatabaseWrapper, claim: Claim, point: str) -> bool:
    """Write down a step, and hold on; whether the claim was still held."""
    until = (now_sql(connection, "%s"), claim.lease)
    return _update(connection, claim, {"point": ("%s", point), "locked_until": until})


def give_up(connection: BaseDatabaseWrapper, claim: Claim) -> None:
    """The view has failed after a step: nobody knows what it has done."""
    _update(connection, claim, {"state": ("%s", State.UNKNOWN.value)})


def give_back(connection: BaseDatabaseWrapper, claim: Claim) -> None:
    """The view has failed before its first step: the key is free again."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {_table(connection, claim)} WHERE digest = %s AND owner = %s",
            [claim.digest, _uuid(connection, claim.owner)],
        )


def take_over(
    connection: BaseDatabaseWrapper, claim: Claim, *, run_again: bool
) -> bool:
    """
    Take the claim of a process whose lease is past; whether nobody was quicker.

    Either to run the view again from its last step, or to mark that nobody knows.
    """
    quote = connection.ops.quote_name
    state = State.STARTED if run_again else State.UNKNOWN
    set_owner, params = "", [state.value]
    if run_again:
        until = now_sql(connection, "%s")
        set_owner = f", owner = %s, locked_until = {until}"
        params += [_uuid(connection, claim.owner), claim.lease]  # type: ignore[list-item]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_table(connection, claim)} SET state = %s{set_owner} "
            f"WHERE digest = %s AND {quote('state')} = %s "
            f"AND locked_until < {now_sql(connection)}",
            [*params, claim.digest, State.STARTED.value],
        )
        return bool(cursor.rowcount)


def _update(
    connection: BaseDatabaseWrapper, claim: Claim, columns: dict[str, tuple[Any, ...]]
) -> bool:
    quote = connection.ops.quote_name
    sets = ", ".join(f"{quote(name)} = {sql}" for name, (sql, *_) in columns.items())
    where = "digest = %s"
    params = [value for _, *values in columns.values() for value in values]
    params.append(claim.digest)
    if claim.owner is not None:
        where += " AND owner = %s"
        params.append(_uuid(connection, claim.owner))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_table(connection, claim)} SET {sets} WHERE {where}", params
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


def _table(connection: BaseDatabaseWrapper, claim: Claim) -> str:
    return connection.ops.quote_name(claim.table)


def _names(connection: BaseDatabaseWrapper, names: Any) -> str:
    return ", ".join(map(connection.ops.quote_name, names))


def _uuid(connection: BaseDatabaseWrapper, value: UUID | None) -> str | None:
    # Without dashes: right for a native uuid and for char(32) alike. MariaDB's own
    # type, which Django uses from 10.7 on, reads it as well.
    return None if value is None else value.hex
