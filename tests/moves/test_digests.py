"""Digests: rows that look alike, and are not the same, have different ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_strangler.moves.sides import DatabaseSide, side_of
from tests.services.plugin import needed
from tests.services.services import KINDS

TABLE = "moves_digest"
COLUMNS = ("id", "number", "one", "other")
ALIKE = {
    "a digit that belongs to the next column": ((1, 23, "", ""), (12, 3, "", "")),
    "a letter that belongs to the next column": ((1, 1, "ab", "c"), (1, 1, "a", "bc")),
    "NULL in the one or in the other": ((1, 1, None, "a"), (1, 1, "a", None)),
    "NULL, and the word": ((1, 1, None, "a"), (1, 1, "NULL", "a")),
    "NULL, and nothing": ((1, 1, None, "a"), (1, 1, "", "a")),
    "nothing in the one or in the other": ((1, 1, "", "a"), (1, 1, "a", "")),
    "a comma": ((1, 1, "a,b", "c"), (1, 1, "a", "b,c")),
    "a quote and a comma": ((1, 1, "a','b", "c"), (1, 1, "a", "b','c")),
    "double quotes": ((1, 1, 'a","b', "c"), (1, 1, "a", 'b","c')),
    "parentheses": ((1, 1, "(a)", ""), (1, 1, "a", "")),
    "quoted, and not": ((1, 1, "'a'", ""), (1, 1, "a", "")),
    "a backslash": ((1, 1, "\\", "'"), (1, 1, "\\'", "")),
    "a backslash and what it stands for": ((1, 1, "\\n", ""), (1, 1, "\n", "")),
    "upper and lower case": ((1, 1, "a", ""), (1, 1, "A", "")),
    "a space at the end": ((1, 1, "a ", ""), (1, 1, "a", "")),
    "an accent": ((1, 1, "é", ""), (1, 1, "e", "")),
    "an accent, in one character or in two": ((1, 1, "é", ""), (1, 1, "e\u0301", "")),
    "beyond the first plane": ((1, 1, "🦉", ""), (1, 1, "🦊", "")),
    "a number and its text": ((1, 12, "", ""), (1, 1, "2", "")),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def side(request, databases, django_db_blocker) -> Iterator[DatabaseSide]:
    kind = request.param
    name = KINDS[kind].name if kind != "sqlite" else "SQLite"
    with (
        needed(name, request),
        django_db_blocker.unblock(),
        databases.fresh(kind) as alias,
    ):
        side = side_of("payments", alias)
        side.run(
            f"CREATE TABLE {TABLE} (id integer PRIMARY KEY, number integer, "
            "one varchar(20), other varchar(20))"
        )
        yield side


def digest(side: DatabaseSide, *rows: tuple[object, ...]) -> tuple[object, ...]:
    side.run(f"DELETE FROM {TABLE}")
    side.write(TABLE, COLUMNS, ("id",), rows)
    return side.digest(TABLE, COLUMNS, ("id",), None, None)


@pytest.mark.parametrize("pair", ALIKE.values(), ids=ALIKE)
def test_rows_that_look_alike_have_different_digests(side, pair):
    one, other = pair

    assert digest(side, one) != digest(side, other)
    assert digest(side, one) == digest(side, one)


@pytest.mark.parametrize("place", [1, 2], ids=["numbers", "texts"])
def test_rows_that_have_each_others_values_are_seen(side, place):
    one, other = [1, 5, "a", "x"], [2, 7, "b", "x"]
    before = digest(side, tuple(one), tuple(other))

    one[place], other[place] = other[place], one[place]

    assert digest(side, tuple(one), tuple(other)) != before


def test_a_row_is_in_no_others_digest(side):
    rows = [(1, 5, "a", "x"), (2, 5, "a", "x")]

    assert digest(side, *rows)[0] == 2
    assert digest(side, *rows) != digest(side, *rows[:1])
    assert digest(side) != digest(side, *rows)


def test_numbers_that_a_database_does_not_tell_whole_are_refused(side):
    side.run("DROP TABLE IF EXISTS moves_floats")
    side.run("CREATE TABLE moves_floats (id integer PRIMARY KEY, one float)")
    columns = ("id", "one")

    def of(value: str) -> tuple[object, ...]:
        side.run("DELETE FROM moves_floats")
        side.run(f"INSERT INTO moves_floats VALUES (1, {value})")
        return side.digest("moves_floats", columns, ("id",), None, None)

    found = list(side.obstacles(["moves_floats"]))

    assert (of("1.234561") == of("1.234562")) == bool(found)
    assert ["FLOAT" in each for each in found] == [True] * (side.kind == "mariadb")
