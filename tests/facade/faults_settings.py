"""The monolith of the runs with faults: its view writes down what it has done."""

from __future__ import annotations

import os

from tests.facade.site_settings import *  # noqa: F403
from tests.facade.site_settings import INSTALLED_APPS as APPS

ROOT_URLCONF = "tests.facade.faults_app.urls"
INSTALLED_APPS = [each for each in APPS if each != "tests.facade.site_app"]
INSTALLED_APPS += ["tests.facade.faults_app"]
MIDDLEWARE = ["django_strangler.facade.FacadeMiddleware"]
DONE_LOG = os.environ.get("DONE_LOG", os.devnull)
