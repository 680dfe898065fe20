"""
The judge: reads both databases in full by plain drivers, and believes nobody.

Nothing of django-strangler is in it but the names of its tables.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

from .ledger import Expected

TABLES = {
    "torture_moves_account": "id",
    "torture_moves_entry": "id",
    "torture_moves_tag": "code",
}
SHOWN = 5  # Of each kind of trouble.
Row = dict[str, Any]
Rows = dict[str, dict[Any, Row]]  # By table and key.


def query(url: str, sql: str) -> list[Row]:
    """Rows by the names of their columns, over a connection of its own."""
    with contextlib.closing(_connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(sql)
        names = [each[0] for each in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _connect(url: str, *, autocommit: bool = True) -> Any:
    if url.startswith("postgres"):
        return psycopg.connect(url, autocommit=autocommit)
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path[1:],
        charset="utf8mb4",
        autocommit=autocommit,
    )


def write_slowly(url: str, has_written: threading.Event, seconds: float = 10) -> None:
    """A transaction that writes, changes nothing, and does not end for so long."""
    with contextlib.closing(_connect(url, autocommit=False)) as connection:
        cursor = connection.cursor()
        # By itself: inside of the UPDATE, MariaDB would lock every row.
        cursor.execute("SELECT MAX(id) FROM torture_moves_account")
        sql = "UPDATE torture_moves_account SET bulk = bulk WHERE id = %s"
        cursor.execute(sql, cursor.fetchone())
        has_written.set()
        time.sleep(seconds)
        connection.commit()


def read(url: str) -> Rows:
    """All that moves."""
    return {
        table: {
            row[key]: {name: _plain(name, value) for name, value in row.items()}
            for row in query(url, f"SELECT * FROM {table}")
        }
        for table, key in TABLES.items()
    }


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    if isinstance(value, Decimal):
        return value.normalize()
    if name == "facts" and isinstance(value, str):
        return json.loads(value)
    return value


def unequal(legacy: Rows, modern: Rows) -> list[str]:
    """What is not the same on both sides, a sentence each."""
    found: list[str] = []
    for table, here in legacy.items():
        there = modern[table]
        found += _some(f"{table} only in legacy", here.keys() - there.keys())
        found += _some(f"{table} only in modern", there.keys() - here.keys())
        differing = {
            f"{key}: {name} {row[name]!r:.60}, {there[key][name]!r:.60}"
            for key, row in here.items()
            if key in there
            for name in row
            if row[name] != there[key][name]
        }
        found += _some(f"{table} differs", differing)
    return found


def broken(rows: Rows, goal: Expected) -> list[str]:
    """What was committed and is not there, or is there and never was."""
    account, entry, tag = (rows[table] for table in TABLES)
    tokens = {row["token"] for row in entry.values() if row["kind"] != "void"}
    found = _some("committed and lost: token", goal.tokens - tokens)
    found += _some("there and never committed: token", tokens - goal.tokens)
    for column, sums in (("balance", goal.balances), ("bulk", goal.bulks)):
        wrong = {
            f"account {number}: {row[column]} instead of {sums[number]}"
            for number, row in account.items()
            if row[column] != sums[number]
        }
        found += _some(f"wrong {column}", wrong)
    found += _some("account gone", set(sums) - set(account))
    tags = {code: (row["place"], row["number"]) for code, row in tag.items()}
    found += _some("tag lost or wrong", set(goal.tags.items()) - set(tags.items()))
    found += _some("tag too many", tags.keys() - goal.tags.keys())
    return found


def unsound(sides: Mapping[str, str]) -> list[str]:
    """Of the app's own tables, while nobody writes and nothing is left to follow."""
    found = []
    closed = {
        side: bool(query(url, "SELECT closed FROM strangler_moves_gate")[0]["closed"])
        for side, url in sides.items()
    }
    if sum(closed.values()) != 1:
        found.append(f"gates: {closed}")
    for side, url in sides.items():
        if marks := _count(url, "strangler_moves_mark"):
            found.append(f"{marks} marks on the {side} side")
    if number := _count(sides["legacy"], "strangler_moves_difference"):
        found.append(f"{number} differences are written down, and there never was one")
    return found


def leftovers(sides: Mapping[str, str]) -> list[str]:
    """After ``finish``."""
    found = []
    for side, url in sides.items():
        if marks := _count(url, "strangler_moves_mark"):
            found.append(f"finished, and {marks} marks are left on the {side} side")
        sql = (
            "SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal"
            if url.startswith("postgres")
            else "SELECT trigger_name AS name FROM information_schema.triggers "
            "WHERE trigger_schema = DATABASE()"
        )
        names = [row["name"] for row in query(url, sql)]
        found += [f"finished, and {name} is left" for name in names if "move" in name]
    return found


def _count(url: str, table: str) -> int:
    return int(query(url, f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])


def _some(what: str, which: Any) -> list[str]:
    return list(_lines(what, sorted(map(str, which))))


def _lines(what: str, which: list[str]) -> Iterator[str]:
    for each in which[:SHOWN]:
        yield f"{what}: {each}"
    if len(which) > SHOWN:
        yield f"{what}: {len(which)} in all"
