"""``manage.py strangler_experiments``: what candidates have shown."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from django_strangler.experiments.models import ExperimentTotal, Mismatch, differed
from django_strangler.management.base import StranglerCommand
from django_strangler.printable import how_many, printable, times


class Command(StranglerCommand):
    """Lists mismatches, shows one with its samples, marks one as known."""

    help = "Shows how candidates differ from their controls, by place."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs and their options."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB")
        listed = verbs.add_parser("list", help="Mismatches by experiment; the default.")
        listed.add_argument("experiment", nargs="?", metavar="EXPERIMENT")
        listed.add_argument("--json", action="store_true", help="For programs.")
        shown = verbs.add_parser("show", help="One mismatch with its samples.")
        shown.add_argument("id", type=int, metavar="ID")
        known = verbs.add_parser(
            "known", help="Mark a mismatch as expected for a time."
        )
        known.add_argument("id", type=int, metavar="ID")
        known.add_argument("--why", required=True, metavar="REASON")
        known.add_argument("--days", type=int, default=14, metavar="N")
        known.add_argument("--by", default="", metavar="NAME")
        forget = verbs.add_parser(
            "forget", help="Delete what is known of an experiment."
        )
        forget.add_argument("experiment", metavar="EXPERIMENT")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        verb = options["verb"] or "list"
        {
            "list": self._list,
            "show": self._show,
            "known": self._known,
            "forget": self._forget,
        }[verb](options)

    def _list(self, options: dict[str, Any]) -> None:
        totals, rows = ExperimentTotal.objects.all(), Mismatch.objects.all()
        if options.get("experiment"):
            totals = totals.filter(experiment=options["experiment"])
            rows = rows.filter(experiment=options["experiment"])
        if options.get("json"):
            self.stdout.write(json.dumps([_as_json(each) for each in rows], indent=1))
            return
        if not totals:
            self.stdout.write("No candidate has run yet.")
        for total in totals:
            self._say(f"{total}: {differed(total.mismatches, total.runs)}")
            of_it = [
                row
                for row in rows
                if (row.experiment, row.candidate)
                == (total.experiment, total.candidate)
            ]
            for row in of_it:
                known = f" (known: {row.known_why})" if row.is_known else ""
                self._say(
                    f"  {row.pk}: {row.kind} at {row.path}, {times(row.count)}, "
                    f"last {row.last_at:%Y-%m-%d %H:%M}{known}"
                )

    def _show(self, options: dict[str, Any]) -> None:
        row = self._row(options["id"])
        self._say(f"{row}, {times(row.count)}")
        for sample in row.samples:
            self._say(f"{sample['at']} {sample['context']}")
            self._say(f"  control:   {sample['control']}")
            self._say(f"  candidate: {sample['candidate']}")

    def _known(self, options: dict[str, Any]) -> None:
        row = self._row(options["id"])
        until = timezone.now() + timedelta(days=options["days"])
        row.mark_known(why=options["why"][:500], until=until, by=options["by"][:255])
        self._say(f"{row} is known until {until:%Y-%m-%d}.")

    def _forget(self, options: dict[str, Any]) -> None:
        name = options["experiment"]
        deleted, _ = Mismatch.objects.filter(experiment=name).delete()
        ExperimentTotal.objects.filter(experiment=name).delete()
        self._say(f"{how_many(deleted, 'mismatch', 'mismatches')} of {name!r} deleted.")

    def _row(self, id: int) -> Mismatch:
        row = Mismatch.objects.filter(pk=id).first()
        if row is None:
            raise CommandError(
                f"There is no mismatch {id}. `strangler_experiments list` names them."
            )
        return row

    def _say(self, line: str) -> None:
        # Samples hold what users have typed.
        self.stdout.write(printable(line))


def _as_json(row: Mismatch) -> dict[str, Any]:
    return {
        "id": row.pk,
        "experiment": row.experiment,
        "candidate": row.candidate,
        "kind": row.kind,
        "path": row.path,
        "count": row.count,
        "first_at": row.first_at.isoformat(),
        "last_at": row.last_at.isoformat(),
        "known": row.is_known,
        "samples": row.samples,
    }
