from __future__ import annotations

import sqlite3

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from django_strangler.outbox.checks import check_idempotency, check_sqlite

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


@pytest.fixture
def source(monkeypatch, tmp_path):
    monkeypatch.setattr(apps.get_app_config("payments"), "path", str(tmp_path))
    return tmp_path / "views.py"


USES = """
def view(request):
    outbox.publish_event("a.b", {}, idempotency_key=request.id)
"""


def test_idempotency_keys_without_retention_are_found(source, settings):
    source.write_text(USES)
    settings.STRANGLER = {"RETENTION": 0}

    [error] = check_idempotency(None)

    assert error.id == "strangler.E002"
    assert f"{source}:3 " in error.msg
    assert error.level >= 40


@pytest.mark.parametrize(
    "code",
    [
        "publish_event('a.b', {})  # idempotency_key",
        "publish_event('a.b', {}, idempotency_key=None)",
        "publish_event; stripe.charge(idempotency_key='x')",
        "def publish_event(idempotency_key",
    ],
)
def test_other_code_is_left_alone(source, settings, code):
    source.write_text(code)
    settings.STRANGLER = {"RETENTION": 0}

    assert check_idempotency(None) == []


def test_with_retention_nothing_is_searched(source, settings):
    source.write_text(USES)

    assert check_idempotency(None) == []


def test_broken_settings_are_another_check_s_business(settings):
    settings.STRANGLER = {"RETENTION": "soon"}

    assert check_idempotency(None) == []


@pytest.mark.django_db
def test_the_checks_are_registered(settings, source):
    source.write_text(USES)
    settings.STRANGLER = {"RETENTION": 0}

    with pytest.raises(SystemCheckError, match=r"strangler\.E002"):
        call_command("check")
