"""``manage.py prune_outbox``: delete old confirmed rows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from django_strangler import conf
from django_strangler.management.base import StranglerCommand
from django_strangler.outbox import retention


class Command(StranglerCommand):
    """Delete confirmed events older than RETENTION."""

    help = (
        "Deletes confirmed events older than RETENTION, in small batches. Pending and "
        "parked events are never touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        self.add_database_argument(parser, default="default")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prune, with a running count on a terminal."""
        total = 0
        for deleted in retention.prune(
            options["database"], older_than=conf.current().retention
        ):
            total += deleted
            if self.stdout.isatty():
                self.stdout.write(f"\r{total:,} events deleted", ending="")
                self.stdout.flush()
        ending = "\r" if self.stdout.isatty() else ""
        self.stdout.write(f"{ending}{total:,} confirmed events deleted.")
