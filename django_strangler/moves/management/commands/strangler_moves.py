"""``manage.py strangler_moves``: check, start, run, status, verify, switch, end."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_strangler.management.base import StranglerCommand
from django_strangler.management.stopping import stopped_by_signals
from django_strangler.moves import (
    beginning,
    capturer,
    checking,
    mover,
    switching,
    verification,
)
from django_strangler.moves.capturing import captures, find_capture
from django_strangler.moves.declaring import find, registry
from django_strangler.moves.directions import direction_of
from django_strangler.moves.models import MoveState
from django_strangler.moves.status import NOT_BEGUN, Status, status
from django_strangler.printable import how_many, printable

IN_THE_WAY = 3


class Command(StranglerCommand):
    """One verb after the other."""

    help = "Move tables to another database while everybody writes, and back."

    def add_arguments(self, parser: CommandParser) -> None:
        """Verbs and their options."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        for verb, text in (
            ("check", "Say what is in the way; exit 3 if anything is."),
            ("start", "Put fence and marks up; run again, it mends them."),
            ("finish", "After the switch: take everything down. No way back."),
            ("abandon", "Before the switch: take everything down."),
        ):
            verbs.add_parser(verb, help=text).add_argument("name", metavar="NAME")
        captured = verbs.add_parser(
            "capture", help="Publish all rows, then each change; again: all anew."
        )
        captured.add_argument("name", metavar="NAME")
        captured.add_argument("--stop", action="store_true", help="Take marks down.")
        run = verbs.add_parser("run", help="The mover: copy and follow. Any number.")
        run.add_argument("name", nargs="?", metavar="NAME", help="This one only.")
        self.add_monitoring_arguments(run)
        shown = verbs.add_parser("status", help="How far the moves are.")
        shown.add_argument("name", nargs="?", metavar="NAME")
        shown.add_argument("--json", action="store_true", help="For programs.")
        verify = verbs.add_parser(
            "verify", help="Compare every row; exit 3 if any differs."
        )
        verify.add_argument("name", metavar="NAME")
        verify.add_argument(
            "--repair", action="store_true", help="Sync those that differ."
        )
        switch = verbs.add_parser("switch", help="Let the other side have the truth.")
        switch.add_argument("name", metavar="NAME")
        switch.add_argument("--to", required=True, choices=switching.GOALS)
        switch.add_argument(
            "--dry-run", action="store_true", help="Say what it would do."
        )
        switch.add_argument(
            "--without-relay",
            action="store_true",
            help="Although none drains the outbox there.",
        )
        pace = verbs.add_parser("pace", help="How much of its time copying may take.")
        pace.add_argument("name", metavar="NAME")
        pace.add_argument("share", type=float, metavar="SHARE", help="0.01 to 1")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        getattr(self, f"_{options['verb']}")(options)

    def _say(self, text: str) -> None:
        self.stdout.write(printable(text))

    def _check(self, options: dict[str, Any]) -> None:
        move = find(options["name"])
        found = [*checking.check(move), *checking.tied(move)]
        for each in found:
            self._say(f"{'In the way' if each.is_error else 'Note'}: {each.text}")
            if each.todo:
                self._say(f"  {each.todo}")
        errors = sum(each.is_error for each in found)
        if errors:
            raise CommandError(f"In the way: {errors}.", returncode=IN_THE_WAY)
        self._say("Nothing is in the way.")

    def _start(self, options: dict[str, Any]) -> None:
        beginning.start(find(options["name"]), self._say)
        self._say("Movers copy it now: manage.py strangler_moves run")

    def _finish(self, options: dict[str, Any]) -> None:
        beginning.finish(find(options["name"]), self._say)

    def _abandon(self, options: dict[str, Any]) -> None:
        beginning.abandon(find(options["name"]), self._say)

    def _capture(self, options: dict[str, Any]) -> None:
        capture = find_capture(options["name"])
        if options["stop"]:
            capturer.end(capture, self._say)
            return
        capturer.begin(capture, self._say)
        self._say("Movers publish it now: manage.py strangler_moves run")

    def _run(self, options: dict[str, Any]) -> None:
        only = options["name"]
        if only is not None and only not in captures:
            find(only)
        path: Path | None = options["heartbeat_file"]
        beat = self.heartbeat(path, "moves")
        stop = threading.Event()
        with (
            self.measured(options["metrics_port"], options["metrics_host"]),
            stopped_by_signals(stop),
        ):
            mover.run(stop, only, lambda: beat("moves"))

    def _status(self, options: dict[str, Any]) -> None:
        names = [options["name"]] if options["name"] else [*registry, *captures]
        found = [
            capturer.status(captures[name]) if name in captures else status(find(name))
            for name in sorted(names)
        ]
        if options["json"]:
            self.stdout.write(json.dumps([each.as_json() for each in found], indent=1))
            return
        for each in found:
            self._say(_line(each))

    def _verify(self, options: dict[str, Any]) -> None:
        move = find(options["name"])
        done = verification.verify(move, repair=options["repair"])
        rate = done.rows / max(done.seconds, 0.001)
        self._say(
            f"{how_many(done.rows, 'row')} compared in {done.seconds:.1f} s, "
            f"{rate:,.0f}/s; {how_many(done.differing, 'difference')}."
        )
        for each in verification.named(move):
            self._say(f"  {each}")
        if done.differing:
            raise CommandError(
                "Look at them; --repair lets them be as they are on the side that has "
                "the truth.",
                returncode=IN_THE_WAY,
            )

    def _switch(self, options: dict[str, Any]) -> None:
        move, goal = find(options["name"]), options["to"]
        if options["dry_run"]:
            self._rehearse(move, goal, without_relay=options["without_relay"])
            return
        closed = switching.Switch(
            move, goal, say=self._say, without_relay=options["without_relay"]
        ).run()
        self._say(
            f"{move.name} lives on the {goal} side now; writers waited for "
            f"{1000 * closed:.0f} ms."
            if closed
            else f"{move.name} lives on the {goal} side."
        )

    def _rehearse(self, move: Any, goal: str, *, without_relay: bool) -> None:
        direction = direction_of(move)
        if direction.primary == goal:
            self._say(f"{move.name} lives on the {goal} side. Nothing would be done.")
            return
        state = MoveState.objects.using(move.source).get(name=move.name)
        if reasons := switching.refusals(direction, state, without_relay=without_relay):
            raise CommandError(" ".join(reasons))
        marks, _ = direction.source.lag()
        self._say(
            f"It would close {direction.source.alias!r}, follow what is marked "
            f"({marks} now), verify that, and open {direction.target.alias!r}."
        )

    def _pace(self, options: dict[str, Any]) -> None:
        share = options["share"]
        if not 0.01 <= share <= 1:
            raise CommandError(f"{share} is not from 0.01 to 1.")
        move = find(options["name"])
        states = MoveState.objects.using(move.source).filter(name=move.name)
        if not states.update(share=share):
            raise CommandError(f"The move {move.name!r} has not begun.")


def _line(each: Status) -> str:
    text = _told(each)
    if not each.is_on:
        return text
    if not each.movers:
        return f"{text}; no mover follows it"
    return f"{text}; stands still: {each.trouble}" if each.trouble else text


def _told(each: Status) -> str:
    if each.is_capture:
        return (
            f"{each.name}: {each.stage}; {how_many(each.copied, 'row')} published at "
            f"first; {how_many(each.marks, 'mark')}, {each.lag:.1f} s behind"
        )
    if not each.is_on:
        where = "" if each.stage == NOT_BEGUN else f", {each.primary} side"
        return f"{each.name}: {each.stage}{where}"
    left = f", {each.left:.0f} s left" if each.left is not None else ""
    verified = (
        f"{how_many(each.verified, 'row')} verified "
        f"{each.verified_at:%Y-%m-%d %H:%M:%S}"
        if each.verified_at
        else f"not verified ({how_many(each.validated, 'row')} so far)"
    )
    return (
        f"{each.name}: {each.stage}, the {each.primary} side has the truth; "
        f"{each.copied:,} of {how_many(each.of, 'row')} copied at "
        f"{each.rate:,.0f}/s{left}; "
        f"{how_many(each.marks, 'mark')}, {each.lag:.1f} s behind; {verified}; "
        f"{how_many(each.differing, 'difference')}"
    )
