"""Settings of movers, switches and writers under torture."""

from __future__ import annotations

import os

from monolith import database

from tests.torture.settings import *  # noqa: F403

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_strangler",
    "django_strangler.moves",
    "tests.torture.moves",
]
# The harness itself has neither: it makes them first.
DATABASES = {
    alias: database.from_url(
        os.environ.get(f"{alias.upper()}_URL", "sqlite:////none/none")
    )
    for alias in ("default", "modern")
}
if any("mysql" in each["ENGINE"] for each in DATABASES.values()):
    database.use_pymysql_if_needed()
STRANGLER: dict[str, object] = {"MOVES": {"WAIT": 60.0}}
DATABASE_ROUTERS = ["django_strangler.moves.Router"]
