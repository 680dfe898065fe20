"""Marks: notes of what has changed, and the triggers that leave them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from zlib import crc32

from django_strangler.clock import seconds_until_sql

from .session import MARK, Key, Keys, Names, Session, chunks, decoded, encoded

# By event: which rows a trigger of it sees.
SEEN = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}


class Marks(Session, ABC):
    """Those of one move."""

    prefix = "strangler_move_"  # Of triggers.

    def marks(self, most: int) -> list[tuple[int, str, Key]]:
        """The oldest ones: number, table, key."""
        rows = self.fetch(
            f"SELECT id, tab, {self.quote('key')} FROM {MARK} WHERE move = %s "
            "ORDER BY id LIMIT %s",
            [self.move, most],
        )
        return [(number, tab, decoded(key)) for number, tab, key in rows]

    @abstractmethod
    def delete_marks(self, numbers: Sequence[int]) -> None:
        """Exactly these, without waiting for those of open transactions."""

    def forget_marks(self) -> None:
        """All of the move."""
        self.run(f"DELETE FROM {MARK} WHERE move = %s", [self.move])

    def marked(self, tab: str, keys: Keys) -> set[Key]:
        """Which of these have a mark."""
        found: set[Key] = set()
        for part in chunks(keys, 500):
            marks = ", ".join(["%s"] * len(part))
            rows = self.fetch(
                f"SELECT DISTINCT {self.quote('key')} FROM {MARK} WHERE move = %s "
                f"AND tab = %s AND {self._normal_key()} IN ({marks})",
                [self.move, tab, *map(self._normal, part)],
            )
            found.update(decoded(key) for (key,) in rows)
        return found

    # JSON is written with spaces here and without there.
    def _normal_key(self) -> str:
        return f"REPLACE({self.quote('key')}, ' ', '')"

    def _normal(self, key: Key) -> str:
        return encoded(key).replace(" ", "")

    def lag(self) -> tuple[int, float]:
        """How many marks there are (100,000 at most), and the age of the oldest."""
        rows = self.fetch(
            f"SELECT COUNT(*) FROM (SELECT 1 AS one FROM {MARK} WHERE move = %s "
            "LIMIT 100000) AS marks",
            [self.move],
        )
        return int(rows[0][0]), self.age()

    def age(self) -> float:
        """Of the oldest mark, in seconds; 0 if there is none."""
        rows = self.fetch(
            f"SELECT {seconds_until_sql(self.connection, 'at')} FROM {MARK} "
            "WHERE move = %s ORDER BY id LIMIT 1",
            [self.move],
        )
        return max(0.0, -float(rows[0][0])) if rows else 0.0

    def tidy(self) -> None:
        """Let their table be small and known to the planner, where that needs care."""

    # Triggers

    @abstractmethod
    def install(self, table: str, tab: str, key: Names) -> None:
        """Fence and marks, in one step that gives up rather than stall writers."""

    @abstractmethod
    def uninstall(self, table: str) -> None:
        """Take them away again, if they are there."""

    @abstractmethod
    def is_installed(self, table: str) -> bool:
        """Whether they are all there, and as they must be."""

    def trigger(self, table: str, event: str) -> str:
        """A trigger's name: it says what it belongs to."""
        name = f"{self.prefix}{table}"
        if len(name) > 50:
            name = f"{name[:40]}_{crc32(name.encode()):08x}"
        return f"{name}_{event}"
