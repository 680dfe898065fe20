from django.db import migrations

from django_strangler.outbox.indexes import KeyIndex


class AddIndexBesideTraffic(migrations.AddIndex):
    """Without keeping publishers waiting; MariaDB and MySQL need to be told nothing."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        connection = schema_editor.connection
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(connection.alias, model):
            return
        # One that was interrupted has left an invalid index.
        name = schema_editor.quote_name(self.index.name)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        statement = self.index.create_sql(model, schema_editor)
        statement.template = statement.template.replace(
            "CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1
        )
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    atomic = False  # PostgreSQL builds no index concurrently in a transaction.

    dependencies = [
        ("strangler", "0007_held_types"),
    ]

    operations = [
        AddIndexBesideTraffic(
            model_name="outboxevent",
            index=KeyIndex(
                fields=["key", "confirmed_at", "id"], name="strangler_outbox_key"
            ),
        ),
    ]
