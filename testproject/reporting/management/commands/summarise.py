from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from reporting.queries import revenue_by_locale
from reporting.summaries import summarise


class Command(BaseCommand):
    help = "Summarise a day and print its revenue."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--day", type=date.fromisoformat, help="as 2026-01-31; otherwise today"
        )

    def handle(self, *args: Any, day: date | None, **options: Any) -> None:
        summary = summarise(day or timezone.now().date())
        self.stdout.write(f"{summary.day}: {summary.payments} payments")
        for each in revenue_by_locale(summary.day):
            self.stdout.write(
                f"{each.locale} {each.currency} {each.gross} ({each.refunded} refunded)"
            )
