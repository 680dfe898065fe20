"""``manage.py strangler_status``: the board in the terminal."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_strangler.management.base import StranglerCommand
from django_strangler.monitoring import board
from django_strangler.printable import how_many, printable

TRIPPED = 3
EXPLAINED = 10  # Lines that say why, of one domain.


class Command(StranglerCommand):
    """Go on, hold, or safe to retire: for each domain."""

    help = (
        "Says for each domain whether to go on, hold, or delete the legacy side, and "
        "why. Exit code 0: nothing is held; 3: something is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument("--domain", help="This domain only.")
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Show the board."""
        rows = board.rows(options["domain"])
        if options["domain"] and not rows:
            known = ", ".join(row.domain for row in board.rows() if row.domain)
            raise CommandError(
                f"There is no domain {options['domain']!r:.80}. Known: "
                f"{known or 'none'}.",
                returncode=2,
            )
        if options["json"]:
            self.stdout.write(json.dumps([_plain(row) for row in rows], indent=2))
        for row in [] if options["json"] else rows:
            self._show(row, most=EXPLAINED if options["domain"] else None)
        if not rows and not options["json"]:
            self.stdout.write("Nothing is being moved yet: there is no flag.")
        held = [row.domain or "of no domain" for row in rows if _is_held(row)]
        if held:
            raise CommandError(f"Held: {', '.join(held)}.", returncode=TRIPPED)

    def _show(self, row: board.Row, most: int | None) -> None:
        share = "" if row.share is None else f" ({row.share:.0%} modern)"
        lines = [
            f"{row.domain or 'of no domain'}: {row.verdict.value}{share}",
            *(f"  {reason}" for reason in row.reasons),
            *(f"  Next: {step}" for step in row.next),
            *(
                f"  {title}: {each.name}{f': {each.text}' if each.text else ''}"
                for title, shown in row.shown.items()
                for each in shown
            ),
        ]
        if most is not None and len(lines) > most:
            more = len(lines) - most + 1
            lines[most - 1 :] = [
                f"  … and {how_many(more, 'more line')}: --json has them all."
            ]
        for line in lines:
            self._line(line)

    def _line(self, text: str) -> None:
        self.stdout.write(printable(text))


def _is_held(row: board.Row) -> bool:
    return row.verdict is board.Verdict.HOLD


def _plain(row: board.Row) -> dict[str, Any]:
    return {
        "domain": row.domain,
        "verdict": row.verdict.value,
        "reasons": list(row.reasons),
        "next": list(row.next),
        "share": row.share,
        "trend": list(row.trend),
        "shown": {
            title: [
                {
                    "name": each.name,
                    "text": each.text,
                    "hold": list(each.hold),
                    "left": list(each.left),
                }
                for each in shown
            ]
            for title, shown in row.shown.items()
        },
    }
