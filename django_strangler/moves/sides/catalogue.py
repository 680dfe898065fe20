"""Tables as the database describes them, and what is in the way there."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from .session import Names, Session

COUNTED = 100_000  # Rows: where there are fewer, counting them is no trouble.
_FAMILIES = (
    ("bool", r"bool|tinyint\(1\)"),
    ("interval", r"interval"),
    ("int", r"(big|small|medium|tiny)?(int|serial)"),
    ("decimal", r"decimal|numeric"),
    ("float", r"double|real|float"),
    ("bytes", r"bytea|.*blob|.*binary"),
    ("datetime", r"timestamp|datetime"),
    ("date", r"date"),
    ("time", r"time"),
    ("uuid", r"uuid"),
    ("json", r"json"),
    ("text", r".*char|.*text|enum|citext"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the database describes it."""

    name: str
    type: str
    required: bool = False  # Neither NULL nor a default.
    generated: bool = False
    auto: bool = False  # Numbered by the database.
    collation: str = ""

    @property
    def family(self) -> str:
        """What kind of values it holds."""
        return next(
            (
                family
                for family, pattern in _FAMILIES
                if re.match(pattern, self.type.lower())
            ),
            "other",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A foreign key."""

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    cascades: bool = False  # It changes rows of the table by itself.


class Catalogue(Session, ABC):
    """What a database says of its tables, and of itself."""

    # How far ahead numbers are skipped before closing; 0: it is done after.
    numbers_before: ClassVar[int] = 0

    @abstractmethod
    def columns(self, table: str) -> dict[str, Column]:
        """Its columns, in their order; none if there is no such table."""

    @abstractmethod
    def key(self, table: str) -> tuple[str, ...]:
        """The columns of the primary key."""

    @abstractmethod
    def foreign_keys(self) -> list[Foreign]:
        """Those of all tables."""

    @abstractmethod
    def uniques(self, table: str) -> list[tuple[str, ...]]:
        """The columns of each unique index besides the primary key."""

    @abstractmethod
    def next_number(self, table: str, column: str) -> int:
        """The number that the next row would get."""

    @abstractmethod
    def skip_numbers(self, table: str, column: str, number: int) -> None:
        """Let the next row get at least this number."""

    def estimated_rows(self, table: str) -> int:
        """About how many rows there are."""
        if (told := self._told_rows(table)) > COUNTED:
            return told
        return int(self.fetch(f"SELECT COUNT(*) FROM {self.quote(table)}")[0][0])

    def _told_rows(self, table: str) -> int:
        """How many the catalogue tells of; 0 if it does not know."""
        return 0

    def lacking(self, tables: Names) -> Iterator[tuple[str, str]]:
        """What this role may not do and has to, and what to GRANT."""
        yield from ()

    def lacking_to_number(self, table: str, column: str) -> Iterator[tuple[str, str]]:
        """The same, for a switch that skips numbers of this column."""
        yield from ()

    def role(self) -> str:
        """Who this is, as GRANT names it."""
        return ""

    def obstacles(self, tables: Names) -> Iterator[str]:
        """What is in the way on this kind of database."""
        yield from ()

    def replica_lag(self) -> float:
        """How far the slowest replica is behind, where the database knows."""
        return 0.0
