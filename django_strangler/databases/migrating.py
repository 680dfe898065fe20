"""Operations of migrations that keep nobody waiting."""

from __future__ import annotations

from typing import Any

from django.db.migrations import AddIndex
from django.db.migrations.state import ProjectState


class AddIndexBesideTraffic(AddIndex):
    """
    Build an index while everybody writes, on PostgreSQL; in a migration of its own.

    That one is not atomic, as nothing is built concurrently in a transaction. MariaDB
    and MySQL need to be told nothing.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: Any,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create it; what an interrupted one has left goes first."""
        connection = schema_editor.connection
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(connection.alias, model):
            return
        name = schema_editor.quote_name(self.index.name)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        statement: Any = self.index.create_sql(model, schema_editor)
        statement.template = statement.template.replace(
            "CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1
        )
        schema_editor.execute(statement, params=None)
