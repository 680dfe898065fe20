"""Rows: reading, writing and comparing them by key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from .session import Bound, Key, Keys, Names, Rows, Session, Values, chunks, plain


class Contents(Session, ABC):
    """The rows of any table."""

    at_once: ClassVar[int] = 1000  # Keys in a statement; rows half as many.

    def rows_after(
        self, table: str, columns: Names, key: Names, after: Bound, most: int
    ) -> list[Values]:
        """The next rows in the order of the key."""
        return self._range(table, columns, key, after, None, " LIMIT %s", most)

    def bound(
        self, table: str, key: Names, after: Bound, rows: int, upto: Bound = None
    ) -> Bound:
        """The key so many rows further on; None beyond the last, or ``upto``."""
        end = " LIMIT 1 OFFSET %s"
        found = self._range(table, key, key, after, upto, end, rows - 1)
        return plain(found[0]) if found else None

    def keys_between(
        self, table: str, key: Names, after: Bound, upto: Bound
    ) -> list[Key]:
        """The keys of a range; it ends with ``upto``."""
        return [plain(row) for row in self._range(table, key, key, after, upto)]

    def _range(
        self,
        table: str,
        columns: Names,
        key: Names,
        after: Bound,
        upto: Bound,
        end: str = "",
        *more: int,
    ) -> list[Values]:
        where, params = self.between(key, after, upto)
        return self.fetch(
            f"SELECT {self.selected(columns)} FROM {self.quote(table)}{where} "
            f"ORDER BY {self.quote(*key)}{end}",
            [*params, *more],
        )

    def rows_of(
        self, table: str, columns: Names, key: Names, keys: Keys
    ) -> list[Values]:
        """The rows with these keys."""
        found: list[Values] = []
        for part in chunks(keys, self.at_once):
            where, params = self._among(table, key, part)
            found += self.fetch(
                f"SELECT {self.selected(columns)} FROM {self.quote(table)} "
                f"WHERE {where}",
                params,
            )
        return found

    def delete(self, table: str, key: Names, keys: Keys) -> None:
        """Let there be no rows with these keys."""
        for part in chunks(keys, self.at_once):
            where, params = self._among(table, key, part)
            self.run(f"DELETE FROM {self.quote(table)} WHERE {where}", params)

    def _among(self, table: str, key: Names, keys: Keys) -> tuple[str, list[Any]]:
        """A condition: to have one of these keys."""
        one, names = ", ".join(["%s"] * len(key)), self.quote(*key)
        if len(key) > 1:
            one, names = f"({one})", f"({names})"
        return (
            f"{names} IN ({', '.join([one] * len(keys))})",
            [part for each in keys for part in each],
        )

    def write(self, table: str, columns: Names, key: Names, rows: Rows) -> None:
        """Let these rows be as they are here, whatever they were before."""
        self._insert(table, columns, rows, self._conflict(columns, key))

    def _conflict(self, columns: Names, key: Names) -> str:
        rest = [each for each in columns if each not in key]
        sets = ", ".join(f"{self.quote(c)} = EXCLUDED.{self.quote(c)}" for c in rest)
        what = f"UPDATE SET {sets}" if rest else "NOTHING"
        return f"ON CONFLICT ({self.quote(*key)}) DO {what}"

    def _insert(
        self, table: str, columns: Names, rows: Rows, end: str, override: str = ""
    ) -> None:
        one = f"({', '.join(['%s'] * len(columns))})"
        for part in chunks(rows, self.at_once // 2):
            self.run(
                f"INSERT INTO {self.quote(table)} ({self.quote(*columns)}) {override} "
                f"VALUES {', '.join([one] * len(part))} {end}",
                [value for row in part for value in row],
            )

    @abstractmethod
    def digest(
        self, table: str, columns: Names, key: Names, after: Bound, upto: Bound
    ) -> Values:
        """A number of rows and a sum over all values; the same for the same rows."""

    def selected(self, columns: Names) -> str:
        """Columns for SELECT."""
        return self.quote(*columns)

    def between(self, key: Names, after: Bound, upto: Bound) -> tuple[str, list[Any]]:
        """A WHERE for a range of keys, or nothing."""
        parts, params = [], []
        for bound, sign in ((after, ">"), (upto, "<=")):
            if bound is not None:
                sql, values = self._compared(key, sign, bound)
                parts.append(sql)
                params += values
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), params

    def _compared(self, key: Names, sign: str, bound: Key) -> tuple[str, list[Any]]:
        # Spelled out: MariaDB uses no index for (a, b) > (x, y).
        first = self.quote(key[0])
        if len(key) == 1:
            return f"{first} {sign} %s", [bound[0]]
        rest, params = self._compared(key[1:], sign, bound[1:])
        return (
            f"({first} {sign[0]}= %s AND ({first} {sign[0]} %s OR {rest}))",
            [bound[0], bound[0], *params],
        )
