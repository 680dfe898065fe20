"""The move of those processes."""

from __future__ import annotations

from django_strangler.moves import Move, Table


class Payments(Move):
    name, source, target = "payments", "default", "modern"
    tables = (Table("payments.Payment"), Table("payments.Refund"))
