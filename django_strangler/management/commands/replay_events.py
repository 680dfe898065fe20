"""``manage.py replay_events``: send events again, on purpose."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_strangler.brokers.patterns import is_pattern
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.models import InboxEntry
from django_strangler.management.arguments import whole_number
from django_strangler.management.base import StranglerCommand
from django_strangler.management.progress import Progress
from django_strangler.outbox import replay
from django_strangler.outbox.models import outbox_alias
from django_strangler.printable import are, how_many


class Command(StranglerCommand):
    """Send parked or confirmed events again."""

    help = (
        "Makes parked events pending again, so that a relay sends them; with "
        "--confirmed, events that were delivered before. Shows first what it would do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which events; everything given must be true of an event."""
        parser.add_argument("--id", type=UUID, action="append", default=[])
        parser.add_argument("--type", default="", help="A pattern: 'payment.*', '#'.")
        parser.add_argument("--key", help="Exactly this key.")
        parser.add_argument("--since", type=_moment, help="Published then or later.")
        parser.add_argument("--until", type=_moment, help="Published before then.")
        parser.add_argument("--reason", default="", help="The reason of the parking.")
        parser.add_argument(
            "--unroutable",
            action="store_const",
            const="unroutable",
            dest="reason",
            help="Those that no queue was bound for.",
        )
        parser.add_argument(
            "--confirmed",
            action="store_true",
            help="Events that were delivered, instead of parked ones.",
        )
        parser.add_argument(
            "--handle-again",
            action="store_true",
            help="Also let this project's subscribers handle them a second time.",
        )
        parser.add_argument(
            "--rate",
            type=whole_number(),
            metavar="EVENTS",
            help="How many become pending a second, so that no service is overloaded.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only show what would be done."
        )
        parser.add_argument(
            "--no-input", action="store_false", dest="ask", help="Do not ask."
        )
        self.add_database_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Show, ask, replay."""
        if options["type"] and not is_pattern(options["type"]):
            raise CommandError(
                f"{options['type']!r} is not a pattern of types, such as 'payment.*'.",
                returncode=2,
            )
        alias = options["database"] or outbox_alias()
        selection = replay.Selection(
            ids=options["id"],
            pattern=options["type"],
            key=options["key"],
            published_from=options["since"],
            published_until=options["until"],
            parked_reason=options["reason"],
            confirmed=options["confirmed"],
        )
        if not selection:
            raise CommandError(
                "Say which events: --id, --type, --key, --since, --until, --reason or "
                "--unroutable. For all of them: --type '#'.",
                returncode=2,
            )
        if options["confirmed"] and options["reason"]:
            raise CommandError(
                "A confirmed event was not parked: drop --confirmed or the reason.",
                returncode=2,
            )
        rows = self._show(selection, alias)
        if not rows or options["dry_run"]:
            return
        self.stdout.write(
            "Subscribers that have handled them will do so AGAIN: every effect twice."
            if options["handle_again"]
            else "Subscribers that have handled them will not be called again; "
            "--handle-again makes them."
        )
        if not self.confirmed(
            f"Send {how_many(len(rows), 'event')} again?", ask=options["ask"]
        ):
            self.stdout.write("Nothing was done.")
            return
        progress, done, forgotten = Progress(self.stdout, len(rows)), 0, 0
        rate = options["rate"]
        size = min(rate or replay.BATCH, replay.BATCH)
        for start in range(0, len(rows), size):
            began, batch = time.monotonic(), rows[start : start + size]
            if options["handle_again"]:
                # With its batch: until it is replayed, the inbox keeps copies away.
                forgotten += self._forget(batch, alias)
            done += sum(replay.replay(batch, using=alias))
            progress.show(done)
            if rate and start + size < len(rows):
                wait(began + size / rate - time.monotonic())
        if options["handle_again"]:
            self.stdout.write(
                f"{how_many(forgotten, 'inbox entry', 'inbox entries')} forgotten."
            )
        self.stdout.write(f"{are(done, 'event')} pending again.")

    def _forget(self, rows: list[int], database: str) -> int:
        inbox = InboxEntry.objects.using(inbox_alias())
        return sum(map(inbox.forget, replay.event_ids(rows, using=database)))

    def _show(self, selection: replay.Selection, database: str) -> list[int]:
        chosen = replay.select(selection, using=database)
        for (type, reason), count in sorted(chosen.counts.items()):
            self.stdout.write(f"{count:>9,}  {type}  {reason or 'confirmed'}")
        if not chosen.rows:
            self.stdout.write("No event matches.")
        return chosen.rows


def wait(seconds: float) -> None:
    """Between two batches of a replay with a rate."""
    if seconds > 0:
        time.sleep(seconds)


def _moment(text: str) -> Any:
    value = parse_datetime(text)
    if value is None:
        raise ArgumentTypeError("it must be a time such as 2025-03-01T12:30")
    return timezone.make_aware(value) if timezone.is_naive(value) else value
