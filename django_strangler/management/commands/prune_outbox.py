"""``manage.py prune_outbox``: delete old confirmed events, forget old handled ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from django_strangler import conf
from django_strangler.inbox import retention as inbox_retention
from django_strangler.management.base import StranglerCommand
from django_strangler.outbox import retention


class Command(StranglerCommand):
    """Delete what RETENTION and INBOX_RETENTION no longer keep."""

    help = (
        "Deletes confirmed events older than RETENTION, and the memory of events that "
        "were handled longer ago than INBOX_RETENTION, in small batches. Pending and "
        "parked events are never touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        self.add_database_argument(parser, default="default")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prune, with a running count on a terminal."""
        settings = conf.current()
        events = retention.prune(options["database"], older_than=settings.retention)
        self._work_off(events, "confirmed events deleted")
        handled = inbox_retention.prune(older_than=settings.inbox_retention)
        self._work_off(handled, "handled events forgotten")

    def _work_off(self, batches: Iterator[int], what: str) -> None:
        total = 0
        for deleted in batches:
            total += deleted
            if self.stdout.isatty():
                self.stdout.write(f"\r{total:,} {what}", ending="")
                self.stdout.flush()
        ending = "\r" if self.stdout.isatty() else ""
        self.stdout.write(f"{ending}{total:,} {what}.")
