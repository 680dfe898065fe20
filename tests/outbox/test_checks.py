from __future__ import annotations

import sqlite3

import pytest
from django.db import connections

from django_strangler.outbox.checks import check_sqlite

OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous=NORMAL",
}


@pytest.fixture
def warnings_for(monkeypatch, tmp_path):
    def warnings_for(options, name="db.sqlite3"):
        config = connections.configure_settings(
            {
                "default": {},
                "checked": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": name if name == ":memory:" else str(tmp_path / name),
                    "OPTIONS": options,
                },
            }
        )
        monkeypatch.setitem(connections.databases, "checked", config["checked"])
        try:
            return [each for each in check_sqlite(None) if "'checked'" in each.msg]
        finally:
            del connections["checked"]

    return warnings_for


@pytest.mark.parametrize("options", [{}, *({k: v} for k, v in OPTIONS.items())])
def test_sqlite_without_both_is_warned_with_the_lines_to_paste(warnings_for, options):
    [warning] = warnings_for(options)

    assert warning.id == "strangler.W001"
    assert '"transaction_mode": "IMMEDIATE"' in warning.hint
    assert '"init_command": "PRAGMA journal_mode=WAL"' in warning.hint


def test_sqlite_with_both_is_well(warnings_for):
    assert warnings_for(OPTIONS) == []
    assert warnings_for({}, ":memory:") == []


def test_a_file_that_is_wal_already_needs_no_command(warnings_for, tmp_path):
    connection = sqlite3.connect(tmp_path / "db.sqlite3")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (n)")
    connection.close()

    assert warnings_for({"transaction_mode": "IMMEDIATE"}) == []


class NoOutboxHere:
    def allow_migrate(self, db, app_label, **hints):
        return False


def test_a_database_without_the_outbox_is_left_alone(warnings_for, settings):
    settings.DATABASE_ROUTERS = [NoOutboxHere()]

    assert warnings_for({}) == []
