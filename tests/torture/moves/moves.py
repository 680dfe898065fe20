"""The move."""

from __future__ import annotations

from django_strangler.moves import Move, Table

NAME = "torture"


class Torture(Move):
    name, target = NAME, "modern"
    tables = (
        Table("torture_moves.Account"),
        Table("torture_moves.Entry"),
        Table("torture_moves.Tag"),
    )
