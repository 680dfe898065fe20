"""``manage.py prune_outbox``: delete old confirmed events, forget old handled ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from django_strangler import pruning
from django_strangler.management.arguments import whole_number
from django_strangler.management.base import StranglerCommand
from django_strangler.outbox import retention
from django_strangler.outbox.models import outbox_alias


class Command(StranglerCommand):
    """Delete what is no longer kept: events, handled ones, and rows of the apps."""

    help = (
        "Deletes confirmed events older than RETENTION, and what is remembered for "
        "INBOX_RETENTION: handled events and idempotency keys; in small batches. "
        "Pending events are never touched, parked ones only with --parked-days."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        self.add_database_argument(
            parser, help="That of the outbox; without it, the router says which."
        )
        parser.add_argument(
            "--parked-days",
            type=whole_number(1, 36500),
            metavar="DAYS",
            help="Also delete events that were parked so long ago and reached nobody.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prune one kind of rows after the other."""
        for what, prune in pruning.registered().items():
            self._work_off(prune(options["database"]), what)
        if options["parked_days"]:
            alias = options["database"] or outbox_alias()
            old = retention.prune_parked(
                alias, older_than=86400.0 * options["parked_days"]
            )
            self._work_off(old, "parked events deleted")

    def _work_off(self, batches: Iterator[int], what: str) -> None:
        total, line = 0, what.capitalize()
        for deleted in batches:
            total += deleted
            if self.stdout.isatty():
                self.stdout.write(f"\r{line}: {total:,}", ending="")
                self.stdout.flush()
        ending = "\r" if self.stdout.isatty() else ""
        self.stdout.write(f"{ending}{line}: {total:,}.")
