"""Settings of the benchmark's monolith: no session, no user, no flag but one."""

from __future__ import annotations

from tests.facade.site_settings import *  # noqa: F403
from tests.facade.site_settings import INSTALLED_APPS as APPS

ROOT_URLCONF = "tests.benchmarks.facade_urls"
INSTALLED_APPS = [each for each in APPS if each != "tests.facade.site_app"]
INSTALLED_APPS += ["revproxy", "tests.benchmarks.facade_routes"]
MIDDLEWARE = ["django_strangler.facade.FacadeMiddleware"]
