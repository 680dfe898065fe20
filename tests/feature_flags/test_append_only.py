"""The triggers of the page on flags, on each database."""

from __future__ import annotations

import pytest
from django.db import Error, connections, transaction

from django_strangler.models import FlagChange
from tests.docs.fences import ROOT, fences

PAGE = ROOT / "docs/reference/feature_flags.md"
KINDS = {"postgresql": "postgresql", "mysql": "mariadb", "sqlite": "sqlite"}


def test_with_the_triggers_no_sql_rewrites_the_history(any_db):
    connection = connections[any_db]
    history = FlagChange.objects.using(any_db)
    history.create(flag="a", by="ada")
    (fence,) = [
        each
        for each in fences(PAGE)
        if (each.language, each.words) == ("sql", (KINDS[connection.vendor],))
    ]
    with connection.cursor() as cursor:
        for statement in fence.code.split("\n\n"):
            cursor.execute(statement)

    for write in (
        "UPDATE strangler_flagchange SET why = 'x'",
        "DELETE FROM strangler_flagchange",
    ):
        with (
            pytest.raises(Error, match="append-only"),
            transaction.atomic(using=any_db),
            connection.cursor() as cursor,
        ):
            cursor.execute(write)

    history.create(flag="a", by="grace")
    assert [change.by for change in history.order_by("id")] == ["ada", "grace"]
