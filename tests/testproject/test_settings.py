from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.utils.module_loading import import_string
from monolith import celery_app, database


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_url_names_a_postgresql(scheme):
    url = f"{scheme}://ann:p%40ss%2F@db.example.com:5433/shop?sslmode=require"

    assert database.from_url(url) == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "ann",
        "PASSWORD": "p@ss/",
        "HOST": "db.example.com",
        "PORT": 5433,
        "OPTIONS": {"sslmode": "require"},
    }


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
def test_a_url_names_a_mariadb(scheme):
    found = database.from_url(f"{scheme}://ann@[::1]/shop?connect_timeout=5")

    assert found["ENGINE"] == "django.db.backends.mysql"
    assert (found["HOST"], found["PORT"], found["PASSWORD"]) == ("::1", "", "")
    assert found["OPTIONS"] == {"charset": "utf8mb4", "connect_timeout": 5}


def test_a_socket_stands_in_the_query():
    found = database.from_url("postgresql:///shop?host=/run/postgresql")

    assert (found["HOST"], found["NAME"]) == ("/run/postgresql", "shop")
    assert found["OPTIONS"] == {}


def test_a_url_names_a_sqlite_file():
    found = database.from_url("sqlite:////var/lib/shop.sqlite3")

    assert found == database.from_path("/var/lib/shop.sqlite3")
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


@pytest.mark.parametrize("url", ["oracle://db/shop", "shop", "//db/shop"])
def test_another_url_is_refused_by_name(url):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        database.from_url(url)


def test_the_sqlite_file_is_in_wal_mode(tmp_path):
    path = tmp_path / "shop.sqlite3"
    show = (
        "import django; django.setup(); from django.db import connection as c; "
        "cursor = c.cursor(); print(cursor.execute('PRAGMA journal_mode').fetchone())"
    )
    environment = {
        **os.environ,
        "DATABASE_URL": "",
        "DATABASE_PATH": str(path),
        "DJANGO_SETTINGS_MODULE": "monolith.settings",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    done = subprocess.run(
        [sys.executable, "-c", show],
        cwd=Path(settings.BASE_DIR),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "('wal',)"
    assert path.exists()


def test_every_scheduled_job_exists():
    for job in settings.CELERY_BEAT_SCHEDULE.values():
        task = import_string(job["task"])
        assert task.name == job["task"]
        assert task.app is celery_app


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
