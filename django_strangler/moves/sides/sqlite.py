"""SQLite: for tests and demos. There is one writer at a time anyway."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from .base import DatabaseSide
from .catalogue import Column, Foreign
from .marks import SEEN
from .session import GATE, MARK, SIDE, Bound, Keys, Names, Values, chunks

_TRIGGER = """
CREATE TRIGGER {trigger} AFTER {event} ON {table} FOR EACH ROW
WHEN COALESCE((SELECT NOT mover FROM {gate} WHERE move = '{move}'), 1)
BEGIN
  SELECT RAISE(ABORT, 'The move {move}: this side is closed for writes.')
    WHERE COALESCE((SELECT closed FROM {gate} WHERE move = '{move}'), 1);
  {marks}
END
"""


class SQLite(DatabaseSide):
    """The gate says as well when the mover writes: there are no sessions."""

    kind = "sqlite"
    at_once = 100  # It takes 999 values.

    def _begin(self) -> None:
        # Writing at once, so that it waits for its turn instead of losing a race.
        self._mover(True)
        self.run("PRAGMA defer_foreign_keys = ON")

    def _end(self) -> None:
        self._mover(False)

    def _mover(self, is_on: bool) -> None:
        self.run(f"UPDATE {GATE} SET mover = %s WHERE move = %s", [is_on, self.move])

    def locked(self) -> tuple[int, int] | None:
        self.run(f"UPDATE {SIDE} SET epoch = epoch WHERE move = %s", [self.move])
        return self.standing()

    def enter(self) -> bool:
        self.run(f"UPDATE {GATE} SET mover = mover WHERE move = %s", [self.move])
        return not self.is_closed()

    def _exclude(self, timeout: float) -> None:
        before = self.fetch("PRAGMA busy_timeout")[0][0]
        self.run(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
        try:
            self._mover(False)
        finally:
            self.run(f"PRAGMA busy_timeout = {before}")

    def delete_marks(self, numbers: Sequence[int]) -> None:
        for part in chunks(numbers, 500):
            marks = ", ".join(["%s"] * len(part))
            self.run(f"DELETE FROM {MARK} WHERE id IN ({marks})", list(part))

    # Triggers

    def install(self, table: str, tab: str, key: Names) -> None:
        for event, rows in SEEN.items():
            name = self.quote(self.trigger(table, event))
            marks = ""
            for row in rows:
                packed = ", ".join(f"{row}.{self.quote(each)}" for each in key)
                marks += (
                    f'INSERT INTO {MARK} (move, tab, "key", at) VALUES '
                    f"('{self.move}', '{tab}', json_array({packed}), {self._now()});\n"
                )
            self.run(f"DROP TRIGGER IF EXISTS {name}")
            self.run(
                _TRIGGER.format(
                    trigger=name,
                    event=event.upper(),
                    table=self.quote(table),
                    gate=GATE,
                    move=self.move,
                    marks=marks,
                )
            )

    def uninstall(self, table: str) -> None:
        for event in SEEN:
            self.run(f"DROP TRIGGER IF EXISTS {self.quote(self.trigger(table, event))}")

    def is_installed(self, table: str) -> bool:
        rows = self.fetch(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s",
            [table],
        )
        return {name for (name,) in rows} >= {
            self.trigger(table, event) for event in SEEN
        }

    # What it is like

    def columns(self, table: str) -> dict[str, Column]:
        rows = self.fetch(f"PRAGMA table_xinfo({self.quote(table)})")
        auto = self._is_numbered(table)
        return {
            name: Column(
                name=name,
                type=type,
                required=bool(not_null) and default is None and not is_key,
                generated=hidden in (2, 3),
                auto=auto and bool(is_key),
            )
            for _, name, type, not_null, default, is_key, hidden in rows
        }

    def _is_numbered(self, table: str) -> bool:
        rows = self.fetch("SELECT sql FROM sqlite_master WHERE name = %s", [table])
        return bool(rows) and "AUTOINCREMENT" in str(rows[0][0]).upper()

    def key(self, table: str) -> tuple[str, ...]:
        rows = self.fetch(f"PRAGMA table_xinfo({self.quote(table)})")
        return tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5])

    def uniques(self, table: str) -> list[tuple[str, ...]]:
        rows = self.fetch(f"PRAGMA index_list({self.quote(table)})")
        found = [
            [each[2] for each in self.fetch(f"PRAGMA index_info({self.quote(row[1])})")]
            for row in rows
            if row[2] and row[3] != "pk"
        ]
        return [tuple(names) for names in found if None not in names]

    def foreign_keys(self) -> list[Foreign]:
        found: list[Foreign] = []
        if not self.fetch("PRAGMA foreign_keys")[0][0]:
            return found  # They are not looked at.
        for table in self.connection.introspection.table_names():
            by_id: dict[int, list[Values]] = {}
            for row in self.fetch(f"PRAGMA foreign_key_list({self.quote(table)})"):
                by_id.setdefault(row[0], []).append(row)
            for rows in by_id.values():
                found.append(
                    Foreign(
                        name=f"of {table}",
                        table=table,
                        columns=tuple(row[3] for row in rows),
                        parent=rows[0][2],
                        parent_columns=tuple(row[4] or "id" for row in rows),
                    )
                )
        return found

    def next_number(self, table: str, column: str) -> int:
        rows = self.fetch("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        return int(rows[0][0]) + 1 if rows else 1

    def skip_numbers(self, table: str, column: str, number: int) -> None:
        self.run("DELETE FROM sqlite_sequence WHERE name = %s", [table])
        self.run(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)",
            [table, number - 1],
        )

    # Rows

    def selected(self, columns: Names) -> str:
        # As they are stored: Python's module would convert a plain column.
        return ", ".join(f"+{self.quote(name)}" for name in columns)

    def _among(self, table: str, key: Names, keys: Keys) -> tuple[str, list[Any]]:
        one = f"({', '.join(['%s'] * len(key))})"
        return (
            f"({self.quote(*key)}) IN (VALUES {', '.join([one] * len(keys))})",
            [part for each in keys for part in each],
        )

    def digest(
        self, table: str, columns: Names, key: Names, after: Bound, upto: Bound
    ) -> Values:
        where, params = self.between(key, after, upto)
        rows = self.fetch(
            f"SELECT {self.selected(columns)} FROM {self.quote(table)}{where}", params
        )
        total = 0
        for row in rows:
            # As Python writes it down, no two rows look alike.
            found = hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
            total ^= int.from_bytes(found, "big")
        return len(rows), total
