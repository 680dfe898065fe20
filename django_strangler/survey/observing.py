"""Observing: what only running shows. Statements are read, and never changed."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from asgiref.local import Local
from django.core.signals import request_finished, request_started
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created
from django.db.transaction import Atomic

from .couplings import Coupling, Kind
from .receivers import Listening, listening
from .territory import Territory, base_dir, is_excluded

_QUOTED = re.compile(r'["`](\w+)["`]')
_WORD = re.compile(r"\w+")
_WRITING = re.compile(
    r"\s*(?:insert\s+(?:ignore\s+)?into|update|delete\s+from|replace\s+into)"
    r'\s+["`]?(\w+)',
    re.IGNORECASE,
)
STATEMENTS = 5_000  # Texts that are remembered.
COUPLINGS = 5_000
WALKS = 10  # So often, the line that runs a statement is looked for.


class Place(NamedTuple):
    """A line of the project."""

    domain: str
    file: str
    line: int


@dataclass(slots=True)
class Statement:
    """What the text of a statement says."""

    tables: dict[str, str]  # Those of the project, and their domains.
    written: str = ""
    walks: int = 0
    places: set[Place] = field(default_factory=set)
    place: Place | None = None  # The last one.

    @property
    def domains(self) -> set[str]:
        return set(self.tables.values())


@dataclass(slots=True)
class Totals:
    """What there was in all, to weigh what crosses by."""

    joins: Counter[str] = field(default_factory=Counter)
    crossing_joins: Counter[str] = field(default_factory=Counter)
    transactions: Counter[str] = field(default_factory=Counter)
    crossing_transactions: Counter[str] = field(default_factory=Counter)


class Observer:
    """Notes each coupling once; ``is_on`` says whether this thread is looked at."""

    def __init__(
        self,
        territory: Territory,
        *,
        is_on: Callable[[], bool] = lambda: True,
        noted: Callable[[Coupling], object] = lambda coupling: None,
    ) -> None:
        self.seen: set[Coupling] = set()
        self.totals = Totals()
        self._territory = territory
        self._tables = {
            table: territory.of_model(model)
            for table, model in territory.tables.items()
        }
        self._is_on = is_on
        self._noted = noted
        self._statements: dict[str, Statement] = {}
        self._local = Local()
        self._base = base_dir()
        self._home = lru_cache(maxsize=None)(self._home_of)

    def __call__(
        self, execute: Any, sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """Wrap a statement, as ``connection.execute_wrapper()`` has it."""
        result = execute(sql, params, many, context)
        if self._is_on():
            statement = self._statements.get(sql) or self._read(sql)
            if statement.written or len(statement.tables) > 1:
                self._look(statement, context["connection"])
        return result

    def _read(self, sql: str) -> Statement:
        sql = str(sql)
        words = _QUOTED.findall(sql) or _WORD.findall(sql)
        tables = {word: self._tables[word] for word in words if word in self._tables}
        writing = _WRITING.match(sql)
        written = writing[1] if writing and writing[1] in tables else ""
        statement = Statement(tables, written)
        if len(tables) > 1:
            for each in statement.domains:
                self.totals.joins[each] += 1
                self.totals.crossing_joins[each] += len(statement.domains) > 1
        if len(self._statements) >= STATEMENTS:
            self._statements.clear()
        self._statements[sql] = statement
        return statement

    def _look(self, statement: Statement, connection: Any) -> None:
        if statement.walks < WALKS:
            statement.walks += 1
            statement.place = self._walk()
        place = statement.place
        if place is None:  # Tests, or a library, and nothing of the project.
            return
        if len(statement.domains) > 1:
            tables = ", ".join(sorted(statement.tables))
            for each in statement.domains:
                self._note(Kind.JOIN, place, each, tables)
        if table := statement.written:
            domain = statement.tables[table]
            self._note(Kind.WRITE, place, domain, table)
            if getattr(self._local, "is_safe", False):
                self._note(Kind.GET, place, domain, table, within=True)
            self._in_transaction(place, domain, table, connection)

    def _in_transaction(
        self, place: Place, domain: str, table: str, connection: Any
    ) -> None:
        if not is_atomic(connection):
            return
        written: dict[str, dict[str, str]] = self._transactions()
        tables = written.setdefault(connection.alias, {})
        if domain not in tables:
            tables[domain] = table
            for other, first in tables.items():
                if other != domain:
                    what = f"{first}, {table}"
                    for each in (domain, other):
                        self._note(Kind.TRANSACTION, place, each, what)

    def _transactions(self) -> dict[str, dict[str, str]]:
        if not hasattr(self._local, "written"):
            self._local.written = {}
        found: dict[str, dict[str, str]] = self._local.written
        return found

    def left(self, alias: str) -> None:
        """An atomic block has ended; the transaction, if it was the outermost."""
        if not is_atomic(connections[alias]):
            tables = self._transactions().pop(alias, {})
            for each in tables:
                self.totals.transactions[each] += 1
                self.totals.crossing_transactions[each] += len(tables) > 1

    def begun(self, environ: Any = None, scope: Any = None, **kwargs: Any) -> None:
        """A request begins."""
        method = environ["REQUEST_METHOD"] if environ else (scope or {}).get("method")
        self._local.is_safe = method in ("GET", "HEAD")

    def ended(self, **kwargs: Any) -> None:
        """A request ends."""
        self._local.is_safe = False

    def heard(self, each: Listening) -> Callable[..., None]:
        """A receiver beside one that listens across domains."""
        home = sys.modules[each.module].__file__ or ""
        found = self._home(home)
        place = Place(each.source, found[1] if found else home, each.line)

        def probe(using: str | None = None, **kwargs: Any) -> None:
            if self._is_on():
                inside = is_atomic(connections[using or DEFAULT_DB_ALIAS])
                kind = Kind.FIRED_INSIDE if inside else Kind.FIRED_OUTSIDE
                self._note(kind, place, each.target, each.what)

        return probe

    def _note(
        self, kind: Kind, place: Place, target: str, what: str, *, within: bool = False
    ) -> None:
        if (place.domain == target and not within) or len(self.seen) >= COUPLINGS:
            return
        coupling = Coupling(place.domain, target, kind, place.file, what, place.line)
        if coupling not in self.seen:
            self.seen.add(coupling)
            self._noted(coupling)

    def _walk(self) -> Place | None:
        """The innermost line of the project."""
        frame = sys._getframe(3)
        while frame is not None:
            code: CodeType = frame.f_code
            if home := self._home(code.co_filename):
                return Place(home[0], home[1], frame.f_lineno)
            frame = frame.f_back  # type: ignore[assignment]
        return None

    def _home_of(self, filename: str) -> tuple[str, str] | None:
        path = Path(filename)
        for top, folder in self._territory.roots.items():
            if path.is_relative_to(folder / top):
                parts = path.relative_to(folder).with_suffix("").parts
                if is_excluded(parts):
                    return None
                domain = self._territory.of_module(".".join(parts))
                inside = path.is_relative_to(self._base)
                return domain, str(path.relative_to(self._base) if inside else path)
        return None


def is_atomic(connection: Any) -> bool:
    """Code has opened a transaction; that of a TestCase does not count."""
    return any(
        not getattr(block, "_from_testcase", False)
        for block in connection.atomic_blocks
    )


@contextmanager
def observing(observer: Observer, territory: Territory) -> Iterator[None]:
    """Let it see every statement, transaction, request and signal meanwhile."""
    exit_atomic = Atomic.__exit__

    def leaving(self: Atomic, *raised: Any) -> None:
        try:
            exit_atomic(self, *raised)
        finally:
            observer.left(self.using or DEFAULT_DB_ALIAS)

    def opened(connection: Any, **kwargs: Any) -> None:
        # In front: code that wraps a connection meanwhile takes the last one off again.
        if observer not in connection.execute_wrappers:
            connection.execute_wrappers.insert(0, observer)

    probes = [(each, observer.heard(each)) for each in listening(territory, {})]
    for each, probe in probes:
        each.signal.connect(probe, sender=each.sender, weak=False)
    request_started.connect(observer.begun)
    request_finished.connect(observer.ended)
    connection_created.connect(opened)
    for connection in connections.all(initialized_only=True):
        opened(connection)
    Atomic.__exit__ = leaving  # type: ignore[method-assign]
    try:
        yield
    finally:
        Atomic.__exit__ = exit_atomic  # type: ignore[method-assign]
        connection_created.disconnect(opened)
        request_finished.disconnect(observer.ended)
        request_started.disconnect(observer.begun)
        for each, probe in probes:
            each.signal.disconnect(probe, sender=each.sender)
        for connection in connections.all(initialized_only=True):
            if observer in connection.execute_wrappers:
                connection.execute_wrappers.remove(observer)
