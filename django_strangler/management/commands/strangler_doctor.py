"""``manage.py strangler_doctor``: what is well, what is not, and what to do."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from django_strangler.findings import Level
from django_strangler.management.base import StranglerCommand
from django_strangler.monitoring.doctor import Diagnosis, Doctor

MARKS = {Level.FINE: "ok     ", Level.TROUBLE: "TROUBLE", Level.UNKNOWN: "?      "}


class Command(StranglerCommand):
    """Examine everything that events depend on."""

    help = (
        "Looks at settings, database, broker, clocks, relays, consumers and flags. "
        "Says what is fine, what is not, with the line that mends it, and what could "
        "not be looked at. Changes nothing. Exits with 1 when something is not fine."
    )
    requires_system_checks = []  # It tells them itself.
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        self.add_database_argument(parser)
        parser.add_argument(
            "--management",
            default="",
            metavar="URL",
            help="RabbitMQ's management API, if it is not where the plugin puts it.",
        )
        parser.add_argument(
            "--json", action="store_true", help="Print one JSON object, for programs."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what the doctor finds."""
        found: list[Diagnosis] = []
        doctor = Doctor(options["database"], management=options["management"])
        for diagnosis in doctor.examine():
            found.append(diagnosis)
            if not options["json"]:
                self._print(diagnosis)
        troubles = sum(each.level is Level.TROUBLE for each in found)
        if options["json"]:
            findings = [{**each._asdict(), "level": each.level.value} for each in found]
            self.stdout.write(json.dumps({"ok": not troubles, "findings": findings}))
        else:
            words = "1 trouble." if troubles == 1 else f"{troubles} troubles."
            self.stdout.write(words if troubles else "All is well.")
        if troubles:
            raise SystemExit(1)

    def _print(self, found: Diagnosis) -> None:
        what = found.what.removesuffix(".")  # A broker's words may have one.
        style = {
            Level.FINE: self.style.SUCCESS,
            Level.TROUBLE: self.style.ERROR,
            Level.UNKNOWN: self.style.WARNING,
        }[found.level]
        self.stdout.write(f"{style(MARKS[found.level])} {found.part:9} {what}.")
        if found.todo:
            self.stdout.write(f"{'':18}-> {found.todo}")
