"""The monolith with two databases, for movers and switches as processes."""

from __future__ import annotations

import os

from monolith import database

from tests.settings import *  # noqa: F403

# Without the survey, which would find in `tests` what reads the payments' tables.
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "django_strangler.survey"]  # noqa: F405
INSTALLED_APPS += ["tests.moves"]
DATABASES = {
    "default": database.from_url(os.environ["LEGACY_URL"]),
    "modern": database.from_url(os.environ["MODERN_URL"]),
}
if any("mysql" in each["ENGINE"] for each in DATABASES.values()):
    database.use_pymysql_if_needed()
DATABASE_ROUTERS = ["django_strangler.moves.Router"]
# Who is killed, keeps the others waiting for as long as its lease; and a switch is let
# however much was written while its process started.
STRANGLER = {**STRANGLER, "MOVES": {"LEASE": 1.0, "LAG": 300.0}}  # noqa: F405
