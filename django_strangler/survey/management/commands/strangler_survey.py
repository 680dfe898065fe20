"""``manage.py strangler_survey``: what is tied to what, and whether that is new."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from django_strangler.management.base import StranglerCommand
from django_strangler.management.progress import Progress
from django_strangler.printable import are, printable
from django_strangler.survey import advice, observed, ratchet, reports, sampling
from django_strangler.survey.couplings import Coupling, Edge
from django_strangler.survey.ratchet import Accepted
from django_strangler.survey.reports import Report
from django_strangler.survey.surveying import survey

NO_RATCHET, NEW, STALE = 1, 3, 5
SHOWN = 20  # New ones, and places of a domain, that are named at once.


def _reason(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ArgumentTypeError("it must be a line of text")
    return text.strip()


class Command(StranglerCommand):
    """The map of the monolith, its ratchet, and what to do first."""

    help = (
        "Shows the couplings between domains, with the line of each. Exit codes of "
        "--check: 0 nothing is new, 1 there is no ratchet yet, 3 a coupling is new, 5 "
        "one is gone and has to be removed with --update."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument("--domain", help="This domain, with the line of each tie.")
        parser.add_argument("--json", action="store_true", help="For programs.")
        parser.add_argument(
            "--html",
            type=Path,
            metavar="FILE",
            help="Write a report that needs no net.",
        )
        parser.add_argument(
            "--check", action="store_true", help="Fail if a coupling is new or gone."
        )
        parser.add_argument(
            "--update",
            action="store_true",
            help="Begin the ratchet, or remove from it what is gone.",
        )
        parser.add_argument(
            "--reason",
            type=_reason,
            help="With --update: accept what is new as well, and say why.",
        )
        parser.add_argument(
            "--owner", type=_reason, help="Who answers for what is new."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Survey, show, and hold against the ratchet."""
        if (options["reason"] or options["owner"]) and not options["update"]:
            raise CommandError("--reason and --owner go with --update.", returncode=2)
        report = self._report()
        domain = options["domain"]
        if domain and domain not in report.survey.domains:
            known = ", ".join(report.survey.domains)
            raise CommandError(
                f"There is no domain {domain!r:.80}. There are: {known}.", returncode=2
            )
        if options["html"]:
            try:
                options["html"].write_text(reports.html(report))
            except OSError as error:
                raise CommandError(f"The report cannot be written: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps(reports.plain(report, domain), indent=2))
        elif not options["check"] and not options["update"]:
            for line in reports.text(report, domain):
                self.stdout.write(printable(line))
        for trouble in report.survey.troubles:
            self.stderr.write(printable(trouble))
        if options["update"]:
            self._update(report, options["reason"] or "", options["owner"] or "")
        if options["check"]:
            self._check(report)

    def _report(self) -> Report:
        bar: list[Progress] = []

        def progress(done: int, total: int) -> None:
            if not bar:
                bar.append(Progress(self.stderr, total))
            bar[0].show(done, last=done == total)

        found = survey(progress)
        return reports.report(found, observed.read(observed.path()), _sampled())

    def _update(self, report: Report, reason: str, owner: str) -> None:
        path, difference = ratchet.path(), report.difference
        known = dict(report.known or {})
        if report.known is None or reason:
            accepted = Accepted(reason, owner)
            known.update({each.edge: accepted for each in difference.new})
        for edge in difference.gone:
            del known[edge]
        try:
            ratchet.write(path, known)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error}") from error
        if report.known is not None and not reason:
            self._refuse_new(report)
        self._say(f"{path.name}: {len(known)} known, {len(difference.gone)} removed.")

    def _check(self, report: Report) -> None:
        if report.known is None:
            raise CommandError(
                f"There is no {ratchet.FILE} yet. Write it: manage.py strangler_survey "
                "--update",
                returncode=NO_RATCHET,
            )
        self._refuse_new(report)
        if stale := ratchet.stale(report.difference):
            for each in stale[:SHOWN]:
                self._say(f"gone: {_said(each, each.file)}")
            raise CommandError(
                f"{are(len(stale), 'coupling')} gone. Take what is gone out of "
                f"{ratchet.FILE}, so that it cannot come back: manage.py "
                "strangler_survey --update",
                returncode=STALE,
            )
        self._say(f"Nothing is new; {are(len(report.known), 'coupling')} known.")

    def _refuse_new(self, report: Report) -> None:
        new = report.difference.new
        if not new:
            return
        for each in new[:SHOWN]:
            self._say(f"new: {_said(each.edge, each.place)}")
            self._say(f"  {advice.replacement(each, report.survey.domains)}")
        if len(new) > SHOWN:
            self._say(f"and {len(new) - SHOWN} more: --json has them all.")
        raise CommandError(
            f"{are(len(new), 'coupling')} new. Cut or accept what is new: manage.py "
            'strangler_survey --update --reason "…"',
            returncode=NEW,
        )

    def _say(self, text: str) -> None:
        self.stdout.write(printable(text))


def _said(edge: Edge, place: str) -> str:
    return f"{edge.source} -> {edge.target}, {edge.kind.value}: {place}: {edge.what}"


def _sampled() -> set[Coupling]:
    try:
        return sampling.sampled()
    except Error:  # There is no database here: the code can be surveyed all the same.
        return set()
