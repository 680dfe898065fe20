from __future__ import annotations

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import (
    AddConstraint,
    AddField,
    AddIndex,
    AlterModelOptions,
    CreateModel,
    RunPython,
)
from django.db.models import NOT_PROVIDED

from django_strangler.models import OutboxEvent

ADDITIVE = (
    AddConstraint,
    AddField,
    AddIndex,
    AlterModelOptions,
    CreateModel,
    RunPython,
)


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", "strangler", check=True, dry_run=True, verbosity=0)


def test_migrations_go_back_and_forth(any_db):
    def tables():
        found = connections[any_db].introspection.table_names()
        models = apps.get_app_config("strangler").get_models()
        return {model._meta.db_table for model in models} & set(found)

    assert OutboxEvent._meta.db_table in tables()

    call_command("migrate", "strangler", "zero", database=any_db, verbosity=0)
    assert tables() == set()

    call_command("migrate", "strangler", database=any_db, verbosity=0)
    assert OutboxEvent._meta.db_table in tables()


def test_migrations_only_add():
    # So that the release before can go on while a deployment rolls.
    loader = MigrationLoader(None)
    for (app, name), migration in loader.disk_migrations.items():
        if app != "strangler":
            continue
        for each in migration.operations:
            assert each.reversible, name
            assert isinstance(each, ADDITIVE), f"{name}: {each.describe()}"
            if isinstance(each, AddField):
                field = each.field
                assert field.null or field.db_default is not NOT_PROVIDED, (
                    f"{name}: {each.name}"
                )


def test_postgresql_tidies_the_table_up_often(postgresql_db):
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE relname = %s",
            [OutboxEvent._meta.db_table],
        )
        [options] = cursor.fetchone()

    assert "autovacuum_vacuum_scale_factor=0.01" in options
    assert "vacuum_truncate=false" in options


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_there_are_two_indexes_besides_the_unique_ones(make_db, kind):
    connection = connections[make_db(kind)]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(
            cursor, OutboxEvent._meta.db_table
        )

    indexes = {
        tuple(each["columns"])
        for each in found.values()
        if each["columns"] and (each["index"] or each["unique"] or each["primary_key"])
    }
    assert indexes == {
        ("id",),
        ("event_id",),
        ("confirmed_at", "parked_at", "available_at", "id"),
        ("key", "confirmed_at", "id") if kind == "mariadb" else ("key", "id"),
    }
