"""The index by key: what is pending of a key, in its order."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement

# On PostgreSQL as an expression that no other index fits, so that no statistics can
# lead the planner to one which walks over everything that is pending.
CONDITIONS = {
    "postgresql": "(confirmed_at IS NULL) IS TRUE AND key <> ''",
    "sqlite": "confirmed_at IS NULL AND key <> ''",
}


class KeyIndex(models.Index):
    """
    ``(key, confirmed_at, id)``, or ``(key, id)`` of what is not confirmed.

    The second where there are partial indexes: a confirmed row is not in it. An
    ``Index`` with a condition is warned of, and left out, where there are none.
    """

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        condition = CONDITIONS.get(schema_editor.connection.vendor)
        names = ("key", "id") if condition else ("key", "confirmed_at", "id")
        editor: Any = schema_editor
        statement: Statement = editor._create_index_sql(
            model,
            fields=[model._meta.get_field(name) for name in names],
            name=self.name,
            using=using,
            condition=condition,
            **kwargs,
        )
        return statement
