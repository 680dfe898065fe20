"""What every process of a project pays for the app, whether it uses it or not."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.admin",
        "django_strangler",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
django.setup()
print(*sys.modules)
"""


def test_django_setup_loads_the_models_and_nothing_that_works_with_them():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "django_strangler.outbox.models" in loaded
    assert "django_strangler.admin.outbox" in loaded
    assert not loaded & {
        "opentelemetry",
        "pika",
        "django_strangler.brokers",
        "django_strangler.conf",
        "django_strangler.feature_flags.evaluation",
        "django_strangler.inbox.subscribers",
        "django_strangler.monitoring",
        "django_strangler.outbox.publishing",
        "django_strangler.tracing",
    }
