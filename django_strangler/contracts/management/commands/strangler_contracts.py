"""``manage.py strangler_contracts``: what events hold, and whom a change hurts."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_strangler.contracts import reporting
from django_strangler.contracts.asyncapi import as_page, document
from django_strangler.contracts.declare import registry
from django_strangler.contracts.judging import Judge, Judgement, Level
from django_strangler.contracts.needs import Need
from django_strangler.contracts.snapshots import Store
from django_strangler.contracts.stranded import stranded
from django_strangler.contracts.writing import current, unwritten, write
from django_strangler.management.base import StranglerCommand
from django_strangler.outbox.models import outbox_alias
from django_strangler.printable import how_many, printable

BREAKS, NOT_WRITTEN = 3, 5


class Command(StranglerCommand):
    """Checks, writes and shows contracts."""

    help = "Checks contracts of events against their snapshots and what readers need."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs and their options."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        check = verbs.add_parser("check", help="Whom would the current contracts hurt?")
        check.add_argument("--strict", action="store_true", help="Warnings fail, too.")
        check.add_argument("--github", action="store_true", help="As annotations.")
        check.add_argument(
            "--not-live",
            action="store_true",
            help="Do not look for events and bindings that a break would strand.",
        )
        check.add_argument("--management", default="", metavar="URL")
        self.add_database_argument(check, help="Whose outbox.")
        written = verbs.add_parser("write", help="Write snapshots, samples and needs.")
        diff = verbs.add_parser("diff", help="What is to be written, field by field.")
        api = verbs.add_parser("asyncapi", help="Print the AsyncAPI 3 document.")
        api.add_argument("--page", action="store_true", help="As a page in Markdown.")
        needs = verbs.add_parser("needs", help="Who reads what.")
        for each in (check, written, diff, api, needs):
            self._add_folder(each)
        for each in (check, needs, diff):
            each.add_argument("--json", action="store_true", help="For programs.")

    def _add_folder(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dir", type=Path, metavar="FOLDER", help="Instead of BASE_DIR/contracts."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        store = Store(options["dir"])
        getattr(self, f"_{options['verb']}")(store, options)

    def _check(self, store: Store, options: dict[str, Any]) -> None:
        judge = Judge(store, _today())
        verdicts, missing = judge.verdicts(), unwritten(store)
        live = {} if options["not_live"] else self._stranded(judge, verdicts, options)
        if options["json"]:
            told = {
                "verdicts": [reporting.as_json(each) for each in verdicts],
                "not_written": [str(path) for path in missing],
                "stranded": live,
            }
            self.stdout.write(json.dumps(told, indent=1))
        else:
            for each in verdicts:
                if options["github"]:
                    self._say(reporting.annotation(each))
                for line in () if options["github"] else reporting.lines(each):
                    self._say(line)
            for type, sentences in live.items():
                for sentence in sentences:
                    self._say(f"LIVE   {type}  {sentence}")
            for path in missing:
                self._say(f"NOT WRITTEN  {path}")
            self._say(_summary(verdicts))
        failing = {Level.BREAK, Level.WARN} if options["strict"] else {Level.BREAK}
        if any(each.level in failing for each in verdicts):
            raise CommandError("A contract breaks.", returncode=BREAKS)
        if missing:
            raise CommandError(
                "Contracts are not written. Run: manage.py strangler_contracts write",
                returncode=NOT_WRITTEN,
            )

    def _stranded(
        self, judge: Judge, verdicts: list[Judgement], options: dict[str, Any]
    ) -> dict[str, list[str]]:
        alias = options["database"] or outbox_alias()
        types = {
            each.type
            for each in verdicts
            if each.change and each.level is not Level.NOTE
        }
        found = {}
        for type in sorted(types):
            needs = judge.needs_of(type)
            if contract := registry.events.get(type):
                needs.append(
                    Need(
                        reader=f"{contract.cls.__name__} itself",
                        type=type,
                        schema=contract.schema,
                        contract=contract,
                    )
                )
            found[type] = [*stranded(type, needs, alias, options["management"])]
        return found

    def _write(self, store: Store, options: dict[str, Any]) -> None:
        verdicts = Judge(store, _today()).verdicts()
        breaks = [each for each in verdicts if each.level is Level.BREAK]
        for each in breaks:
            for line in reporting.lines(each):
                self._say(line)
        if breaks:
            raise CommandError(
                f"Nothing was written: a contract breaks. Undo it, or accept it in "
                f"{store.root / 'accepted.json'}.",
                returncode=BREAKS,
            )
        files = unwritten(store)
        write(files)
        for path, text in files.items():
            self._say(f"{'removed' if text is None else 'written'}  {path}")

    def _diff(self, store: Store, options: dict[str, Any]) -> None:
        found = {}
        for type, snapshot in current(store).items():
            known = store.of(type)
            old = known[-1] if known else None
            before = old.schema if old else {}
            told = [*reporting.difference(before, snapshot.schema)]
            if told:
                found[f"{type} {old.label if old else 'new'} -> {snapshot.label}"] = (
                    told
                )
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=1))
            return
        for title, told in found.items():
            self._say(title)
            for line in told:
                self._say(f"  {line}")

    def _asyncapi(self, store: Store, options: dict[str, Any]) -> None:
        snapshots = current(store)
        needs = Judge(store, _today()).needs
        self.stdout.write(
            as_page(snapshots, needs)
            if options["page"]
            else json.dumps(document(snapshots, needs), indent=2)
        )

    def _needs(self, store: Store, options: dict[str, Any]) -> None:
        needs = sorted(Judge(store, _today()).needs, key=lambda n: (n.type, n.reader))
        if options["json"]:
            told = [
                {"type": each.type, "reader": each.reader, "reads": each.fields}
                for each in needs
            ]
            self.stdout.write(json.dumps(told, indent=1))
            return
        for each in needs:
            self._say(f"{each.type}  {each.reader}  {' '.join(each.fields)}")

    def _say(self, line: str) -> None:
        # Files of readers are others'.
        self.stdout.write(printable(line))


def _today() -> date:
    return datetime.now(timezone.utc).date()


def _summary(verdicts: list[Judgement]) -> str:
    counts = {level: sum(each.level is level for each in verdicts) for level in Level}
    return (
        f"{how_many(len(registry.events), 'event')}: "
        f"{how_many(counts[Level.BREAK], 'break')}, "
        f"{how_many(counts[Level.WARN], 'warning')}, "
        f"{how_many(counts[Level.NOTE], 'note')}."
    )
