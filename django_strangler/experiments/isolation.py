"""
The place where a candidate runs: nothing of it stays behind.

Its writes are rolled back and its ``on_commit`` hooks dropped, the server bounds the
time of its statements, and what cannot be undone is refused. The caller's transaction
and connections are as they were.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .effects import Effect, Refused, permit, refuse

logger = logging.getLogger("django_strangler.experiments")

SLACK = 0.1  # By this share the limit in the server may lag behind the deadline.

_COMMENTS = re.compile(r"(\s|/\*.*?\*/|--[^\n]*(\n|\Z)|#[^\n]*(\n|\Z))*", re.S)
_READS = re.compile(r"\(*\s*(SELECT|WITH|VALUES|EXPLAIN|SHOW|PRAGMA)\b", re.I)
_LOCKS_OR_WRITES = re.compile(
    r"\b(FOR\s+(NO\s+KEY\s+)?UPDATE|FOR\s+(KEY\s+)?SHARE|LOCK\s+IN\s+SHARE|INSERT|UPDATE"
    r"|DELETE|MERGE|INTO\s+OUTFILE)\b",
    re.I,
)
_NESTED = re.compile(r"(SAVEPOINT|RELEASE\s+SAVEPOINT|ROLLBACK\s+TO)\b", re.I)
_CHANGES_DATA = re.compile(r"(INSERT|UPDATE|DELETE|REPLACE|MERGE)\b", re.I)
_SECOND = re.compile(r";\s*(?=[A-Z])", re.I)  # A statement behind the first.


class TimeIsUp(Exception):
    """The candidate has used up its time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate may do."""

    timeout: float
    using: frozenset[str]  # Databases that it may write to, to be undone.
    refused: frozenset[Effect] = frozenset(Effect)


class isolated:
    """Run the body as a candidate."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entered: list[_Inside] = []

    def __enter__(self) -> None:
        limits = self._limits
        deadline = time.monotonic() + limits.timeout
        self._token = refuse(limits.refused)
        try:
            for alias in connections:
                inside = _Inside(connections[alias], alias in limits.using, deadline)
                inside.enter()
                self._entered.append(inside)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        try:
            while self._entered:
                self._entered.pop().leave()
        finally:
            permit(self._token)


class _Inside:
    """One database connection, while a candidate runs on it."""

    def __init__(
        self, connection: BaseDatabaseWrapper, writable: bool, deadline: float
    ) -> None:
        self._connection: Any = connection
        self._deadline = deadline
        self._is_callers = connection.in_atomic_block
        # MySQL ends the whole transaction of a deadlock's victim, SQLite that of a
        # write which is interrupted: in the caller's, a candidate only reads there.
        self._is_delicate = connection.vendor != "postgresql" and self._is_callers
        self._writable = writable and not self._is_delicate
        self._own: transaction.Atomic | None = None  # Where the caller has none.
        self._saved = False  # There is a savepoint to go back to.
        self._limit = 0.0  # In force in the server; 0: none of ours.

    def enter(self) -> None:
        """Guard the connection; what the caller has there is remembered."""
        connection = self._connection
        if self._is_callers:
            self._hooks = list(connection.run_on_commit)
            self._broken = connection.needs_rollback
            self._blocks = list(connection.atomic_blocks)
            self._savepoints = list(connection.savepoint_ids)
        elif self._writable:
            own = transaction.atomic(using=connection.alias)
            own.__enter__()
            self._own = own
        self._replaced = {"init_connection_state": self._init}
        if self._is_callers:
            self._replaced |= _REFUSED
        # On the instance, this thread's alone; others may have put theirs there.
        mine = vars(connection)
        self._before = {name: mine[name] for name in self._replaced if name in mine}
        mine.update(self._replaced)
        connection.execute_wrappers.append(self._execute)

    def leave(self) -> None:
        """Undo what was done, and let the connection be as it was."""
        connection = self._connection
        connection.execute_wrappers.remove(self._execute)
        mine = vars(connection)
        for name in self._replaced:
            del mine[name]
        mine.update(self._before)
        if connection.vendor == "sqlite" and connection.connection is not None:
            connection.connection.set_progress_handler(None, 0)
        if self._own is not None:
            connection.set_rollback(True)
            self._own.__exit__(None, None, None)
        elif self._is_callers:
            connection.in_atomic_block = True
            connection.atomic_blocks = self._blocks
            connection.savepoint_ids = self._savepoints
            connection.needs_rollback = False  # Or the next line could not run.
            self._undo()
            connection.run_on_commit = self._hooks
            connection.needs_rollback = self._broken
        self._put_back_limit()

    def _undo(self) -> None:
        if not self._saved:
            return
        ops = self._connection.ops
        try:
            self._run(ops.savepoint_rollback_sql(_SAVEPOINT))
            self._run(ops.savepoint_commit_sql(_SAVEPOINT))
        except Error as error:
            # The connection is gone, as the caller's next statement will find.
            logger.warning("A candidate could not be rolled back: %s", error)

    def _init(self) -> None:
        """What Django tells a new connection, should the candidate be the first."""
        with self._unguarded():
            type(self._connection).init_connection_state(self._connection)

    def _execute(
        self,
        execute: Callable[..., Any],
        sql: Any,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        text = sql if isinstance(sql, str) else sql.as_string(context["cursor"].cursor)
        statement = _COMMENTS.sub("", text, count=1)
        nested = bool(_NESTED.match(statement))
        reads = bool(_READS.match(statement) and not _LOCKS_OR_WRITES.search(statement))
        if not nested:
            self._check(statement, reads)
        if self._is_callers and not self._saved:
            # First of all: a savepoint that the candidate makes lies within.
            self._run(self._connection.ops.savepoint_create_sql(_SAVEPOINT))
            self._saved = True
        prefix = "" if nested else self._bounded(reads)
        return execute(f"{prefix}{text}" if prefix else sql, params, many, context)

    def _check(self, statement: str, reads: bool) -> None:
        parts = [_COMMENTS.sub("", each, count=1) for each in _SECOND.split(statement)]
        for part in parts:
            if not _READS.match(part) and not _CHANGES_DATA.match(part):
                # It may end the transaction, or change the session: DDL, COMMIT, SET.
                raise Refused(f"The candidate wanted to run {part[:60]!r}.")
        if not reads and not self._writable:
            why = (
                "in a transaction that is open already, a failed write could end it "
                "on this database"
                if self._is_delicate
                else "it is not among the databases of the experiment (using=)"
            )
            raise Refused(
                f"The candidate wanted to write to {self._connection.alias!r}: {why}."
            )

    def _bounded(self, reads: bool) -> str:
        """Let the server end the statement at the deadline; returns a prefix for it."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeIsUp("The candidate has used up its time.")
        milliseconds = max(1, round(left * 1000))
        vendor = self._connection.vendor
        if vendor == "postgresql":
            if not self._limit or self._limit - left > self._limit * SLACK:
                inside = self._connection.in_atomic_block
                local = "LOCAL " if inside else ""  # Undone with the transaction.
                self._run(f"SET {local}statement_timeout = {milliseconds}")
                self._limit = left
        elif vendor == "mysql" and self._is_mariadb():
            return f"SET STATEMENT max_statement_time={milliseconds / 1000} FOR "
        elif vendor == "mysql":
            self._run(f"SET SESSION max_execution_time = {milliseconds}")
            self._limit = left
        elif vendor == "sqlite":
            may_end = reads or not self._is_callers
            raw: Any = self._connection.connection
            raw.set_progress_handler(self._is_late if may_end else None, 1000)
        return ""

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def _put_back_limit(self) -> None:
        connection = self._connection
        if not self._limit or connection.connection is None:
            return
        if connection.vendor == "mysql":
            self._run("SET SESSION max_execution_time = DEFAULT")
        elif not self._is_callers and not self._writable:
            self._run("RESET statement_timeout")

    def _is_mariadb(self) -> bool:
        with self._unguarded():  # It may have to ask the server.
            return bool(getattr(self._connection, "mysql_is_mariadb", False))

    def _run(self, sql: str) -> None:
        """A statement of ours, which the candidate's limits do not hold for."""
        with self._unguarded(), self._connection.cursor() as cursor:
            cursor.execute(sql)

    @contextlib.contextmanager
    def _unguarded(self) -> Iterator[None]:
        wrappers = self._connection.execute_wrappers
        guarded = self._execute in wrappers
        if guarded:
            wrappers.remove(self._execute)
        try:
            yield
        finally:
            if guarded:
                wrappers.append(self._execute)


_SAVEPOINT = "strangler_candidate"


def _refusing(name: str) -> Callable[..., None]:
    def refuse_to(*args: object, **options: object) -> None:
        raise Refused(f"The candidate wanted to {name} the caller's connection.")

    return refuse_to


# What would end the caller's connection, or its transaction.
_REFUSED = {
    name: _refusing(name) for name in ("close", "commit", "rollback", "set_autocommit")
}
