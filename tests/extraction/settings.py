"""The monolith as this company runs it, and in a hurry: a day is a second here."""

import os

from monolith.settings import *  # noqa: F403
from monolith.settings import DATABASES, STRANGLER

DEBUG = False
# A password costs a tenth of a second on purpose; nobody here has one worth that.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
for _database in DATABASES.values():
    _database |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
EMAIL_BACKEND = "tests.extraction.mailing.Backend"
SILENCED_SYSTEM_CHECKS = ["strangler_facade.W001"]  # Nobody logs in here.
POST_OFFICE = os.environ["POST_OFFICE"]

STRANGLER = {
    **STRANGLER,
    "RELAY": {"LEASE": 2.0},
    "RETIRE_AFTER": 5,
}
if "SERVICES" in STRANGLER:
    for _service in STRANGLER["SERVICES"].values():
        # Of eight threads: half of them work on, whoever hangs.
        _service |= {"TIMEOUT": 1.5, "MAX_IN_FLIGHT": 4}
