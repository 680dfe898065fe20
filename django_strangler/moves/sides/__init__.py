"""Sides: what a move asks of each kind of database."""

from __future__ import annotations

from django.db import connections

from django_strangler.moves.exceptions import MoveRefused

from .base import DatabaseSide
from .catalogue import Column, Foreign
from .mariadb import MariaDB
from .postgresql import PostgreSQL
from .session import Key, Values
from .sqlite import SQLite

__all__ = ["Column", "DatabaseSide", "Foreign", "Key", "Values", "side_of"]

_KINDS: dict[str, type[DatabaseSide]] = {
    "mysql": MariaDB,
    "postgresql": PostgreSQL,
    "sqlite": SQLite,
}


def side_of(move: str, alias: str) -> DatabaseSide:
    """One side of a move, by its alias of DATABASES."""
    if alias not in connections:
        raise MoveRefused(
            f"The move {move!r} names the database {alias!r}, which DATABASES does "
            "not have."
        )
    connection = connections[alias]
    if connection.vendor not in _KINDS:
        raise MoveRefused(
            f"{alias!r} is {connection.display_name}. Moves know PostgreSQL, MariaDB "
            "and SQLite."
        )
    return _KINDS[connection.vendor](move, connection)
