"""The tests' monolith as a process of its own: ROUTE and SERVICE_URL say the rest."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.facade.site_settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
