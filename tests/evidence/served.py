"""What gunicorn serves and Celery works on: each request and each task is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import django

django.setup()

from celery import Celery  # noqa: E402

from django_strangler import evidence  # noqa: E402

# As a module of the project may: in gunicorn's arbiter, before any worker is forked.
evidence.note("import:served")

worker = Celery("served")
worker.config_from_object("django.conf:settings", namespace="CELERY")


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """A request is seen on the modern side."""
    evidence.note("request:served", seconds=0.01)
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return [b""]


@worker.task(name="served.work")
def work() -> None:
    """So is a task."""
    evidence.note("task:served")
