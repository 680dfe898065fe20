"""Foreign keys that only a database knows, on each kind of database."""

from __future__ import annotations

import pytest
from django.db import connections, router

from django_strangler.survey import Coupling, Kind
from django_strangler.survey.reading import Map
from django_strangler.survey.relations import in_database
from django_strangler.survey.territory import Territory


def test_a_key_that_no_model_has_is_found_and_no_other(any_db: str, monkeypatch):
    monkeypatch.setattr(router, "db_for_read", lambda model, **hints: any_db)
    world = Map(Territory())
    assert in_database(world) == ([], [])

    column = "ALTER TABLE reporting_dailysummary ADD COLUMN closed_by bigint NULL"
    key = "REFERENCES users_user (id)"
    connection = connections[any_db]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"{column} {key}")
        else:
            cursor.execute(column)
            cursor.execute(
                "ALTER TABLE reporting_dailysummary ADD CONSTRAINT closed_by_user "
                f"FOREIGN KEY (closed_by) {key}"
            )

    found, troubles = in_database(world)

    what = "reporting_dailysummary.closed_by: users_user"
    assert found == [
        Coupling("reporting", "users", Kind.DATABASE, f"database {any_db}", what)
    ]
    assert troubles == []


@pytest.mark.django_db
def test_a_database_that_cannot_be_asked_is_said(monkeypatch, tmp_path, settings):
    from django.db.utils import ConnectionHandler

    lost = ConnectionHandler(
        {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(tmp_path / "no" / "such.sqlite3"),
            }
        }
    )
    monkeypatch.setattr("django_strangler.survey.relations.connections", lost)

    found, troubles = in_database(Map(Territory()))

    assert found == []
    assert "cannot be asked" in troubles[0]
