"""What the example counts, prunes, examines and shows."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest

from django_strangler import counting
from django_strangler.findings import Finding, Level
from django_strangler.monitoring.panels import Panel

from .conf import settings
from .models import Thing

pruned = counting.counter("example_pruned", "Things that were forgotten.")


def prune(database: str | None) -> Iterator[int]:
    """All but the newest."""
    newest = Thing.objects.order_by("-id").values_list("id", flat=True)
    keep = list(newest[: settings().most])
    count, _ = Thing.objects.exclude(id__in=keep).delete()
    pruned.add(n=count)
    yield count


def find() -> Iterator[Finding]:
    """Whether there are too many."""
    count = Thing.objects.count()
    level = Level.FINE if count <= settings().most else Level.TROUBLE
    yield Finding(level, f"{count} things", "manage.py prune_outbox")


def _data(request: HttpRequest) -> dict[str, object]:
    return {"count": Thing.objects.count()}


panel = Panel(
    name="example",
    title="Things",
    permission="strangler_example.view_thing",
    data=_data,
    template="example/panel.html",
)
