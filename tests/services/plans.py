"""How a database would carry out a statement, as it tells itself."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def explained(
    connection: BaseDatabaseWrapper, sql: str, params: Any = None
) -> list[dict[str, Any]]:
    """A row a step, by the names of its columns."""
    words = {"sqlite": "EXPLAIN QUERY PLAN", "mysql": "EXPLAIN FORMAT=TRADITIONAL"}
    if getattr(connection, "mysql_is_mariadb", False):
        words["mysql"] = "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{words.get(connection.vendor, 'EXPLAIN')} {sql}", params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
