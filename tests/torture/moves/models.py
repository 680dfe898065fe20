"""
What moves: a table of sums, one of tokens that refer to it, and one with a text key.

A transaction adds to sums, which commute, and leaves a token: so whatever is committed
can be counted afterwards, also when nobody was told whether it was.
"""

# ruff: noqa: DJ001, DJ008

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from django.db import models

LABEL = "torture_moves"
HOT = 12  # The first accounts, which everybody wants.
BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Account(models.Model):
    id = models.BigIntegerField(primary_key=True)
    owner = models.CharField(max_length=60)
    balance = models.BigIntegerField(default=0)
    bulk = models.BigIntegerField(default=0)
    rate = models.DecimalField(max_digits=12, decimal_places=4)
    facts = models.JSONField(default=dict)
    note = models.TextField(null=True)
    is_open = models.BooleanField(default=True)
    seen = models.DateTimeField()

    class Meta:
        app_label = LABEL


class Entry(models.Model):
    id = models.BigAutoField(primary_key=True)
    token = models.CharField(max_length=40, unique=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT)
    amount = models.BigIntegerField()
    kind = models.CharField(max_length=10)

    class Meta:
        app_label = LABEL


class Tag(models.Model):
    """Its key changes, and places are swapped."""

    code = models.CharField(max_length=40, primary_key=True)
    place = models.BigIntegerField(unique=True)
    number = models.BigIntegerField(default=0)

    class Meta:
        app_label = LABEL


MODELS = (Account, Entry, Tag)
TABLES = tuple(each._meta.db_table for each in MODELS)


def create_tables(connection: Any) -> None:
    with connection.schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)


def fill(alias: str, rows: int) -> None:
    """Accounts as they are at the beginning."""
    Account.objects.using(alias).bulk_create(
        (
            Account(
                id=number,
                owner=f"Zoë \\ {number} 'x' 🦉" if number % 7 == 0 else f"o{number}",
                rate=Decimal(number) / 10000,
                facts={"n": number, "list": [1, None, "é"]},
                note=None if number % 3 else "a\tb\nc",
                is_open=bool(number % 2),
                seen=BEGAN,
            )
            for number in range(1, rows + 1)
        ),
        batch_size=2000,
    )
