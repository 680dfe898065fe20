"""Settings of the monolith that tests start as a process."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS
from tests.settings import STRANGLER as GIVEN

DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.facade.urls"
INSTALLED_APPS = [
    *(each for each in APPS if not each.startswith("django_strangler.facade")),
    "django_strangler.facade",
    "tests.facade.site_app",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_strangler.facade.FacadeMiddleware",
]
STRANGLER = {**GIVEN, **json.loads(os.environ.get("STRANGLER", "{}"))}
LOGGING_CONFIG = None
