"""``manage.py dead_letters``: look at deliveries that were given up on."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_strangler import conf
from django_strangler.brokers import dead_letters as open_queue
from django_strangler.brokers.base import DeadLetterQueue
from django_strangler.inbox.dead_letters import (
    DeadLetter,
    LetterSelection,
    letters,
    settle,
)
from django_strangler.management.base import StranglerCommand
from django_strangler.management.progress import Progress
from django_strangler.printable import how_many, printable, times

BODY = 4000  # Characters of one that `show` prints.


class Command(StranglerCommand):
    """List, show, requeue or discard dead letters."""

    help = (
        "Lists the dead letters of a queue by their errors, shows them in full, puts "
        "them back into the queue, or deletes them. Shows first what it would do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do, and with which; everything given must be true of a letter."""
        parser.add_argument(
            "action", nargs="?", default="list", choices=[*_ACTIONS, "list", "show"]
        )
        parser.add_argument("--queue", required=True, metavar="NAME")
        parser.add_argument("--id", action="append", default=[])
        parser.add_argument("--type", default="", help="Exactly this type.")
        parser.add_argument("--error", default="", help="Part of the error.")
        parser.add_argument(
            "--all", action="store_true", help="Requeue or discard all that are there."
        )
        parser.add_argument(
            "--limit",
            type=int,
            default=20,
            metavar="LETTERS",
            help="How many to show in full (20).",
        )
        parser.add_argument(
            "--no-input", action="store_false", dest="ask", help="Do not ask."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Open the queue and do it."""
        selection = LetterSelection(
            names=frozenset(options["id"]), type=options["type"], error=options["error"]
        )
        action = options["action"]
        if action in _ACTIONS and selection == LetterSelection() and not options["all"]:
            raise CommandError(
                f"Say which to {action}: --id, --type, --error, or --all.", returncode=2
            )
        with closing(open_queue(conf.current(), options["queue"])) as queue:
            if action == "show":
                self._show(queue, selection, options["limit"])
                return
            chosen = self._list(queue, selection)
        # Opened anew: while a person thinks about the question, nothing is held.
        if chosen and action in _ACTIONS:
            self._act(action, chosen, options)

    def _list(
        self, queue: DeadLetterQueue, selection: LetterSelection
    ) -> Counter[bytes]:
        counts: Counter[tuple[str, str, str]] = Counter()
        chosen: Counter[bytes] = Counter()
        forgotten = 0
        retention = conf.current().inbox_retention
        for letter in letters(queue, selection):
            counts[letter.reason, letter.type, letter.kind_of_error] += 1
            chosen[letter.fingerprint] += 1
            forgotten += letter.is_forgotten(retention)
        for (reason, type, error), count in counts.most_common():
            line = f"{type}  {reason}: {error}"
            self.stdout.write(f"{count:>9,}  {printable(line)}")
        if not counts:
            self.stdout.write("There are none.")
        if forgotten:
            self.stdout.write(
                f"{forgotten:,} of them may be older than INBOX_RETENTION: the inbox "
                "may have forgotten who handled them, and effects may happen TWICE."
            )
        return chosen

    def _show(
        self, queue: DeadLetterQueue, selection: LetterSelection, limit: int
    ) -> None:
        shown = 0
        for letter in letters(queue, selection):
            if shown < limit:
                self.stdout.write(_in_full(letter))
            shown += 1
        if shown > limit:
            self.stdout.write(f"… and {shown - limit:,} more; see --limit.")
        if not shown:
            self.stdout.write("There are none.")

    def _act(
        self, action: str, chosen: Counter[bytes], options: dict[str, Any]
    ) -> None:
        verb, total = _ACTIONS[action], chosen.total()
        question = f"{verb} {how_many(total, 'dead letter')} of {options['queue']!r}?"
        if not self.confirmed(question, ask=options["ask"]):
            self.stdout.write("Nothing was done.")
            return
        progress, done = Progress(self.stdout, total), 0
        with closing(open_queue(conf.current(), options["queue"])) as queue:
            act = queue.requeue if action == "requeue" else queue.discard
            for _ in settle(queue, chosen, act):
                done += 1
                progress.show(done)
        did = "put back" if action == "requeue" else "deleted"
        self.stdout.write(f"{how_many(done, 'dead letter')} {did}.")


_ACTIONS = {"requeue": "Put back", "discard": "DELETE"}


def _in_full(letter: DeadLetter) -> str:
    body = letter.delivery.body[: 4 * BODY].decode(errors="replace")
    lines = {
        "id": letter.name,
        "type": letter.type,
        "reason": letter.reason,
        "error": letter.error,
        "failed": f"{times(letter.times)}, {letter.first} to {letter.last}",
        "published": letter.published_at,
        "headers": _shown(letter.delivery.headers),
        "body": body if len(body) <= BODY else f"{body[:BODY]}…",
    }
    shown = (f"{name + ':':10} {_plain(value)}" for name, value in lines.items())
    return "\n".join(shown) + "\n"


def _plain(value: object) -> str:
    # Indented: no line of it looks like one of ours.
    return printable(value, keep="\n").replace("\n", f"\n{'':11}")


def _shown(headers: object) -> str:
    try:
        return repr(headers)[: 4 * BODY]
    except RecursionError:
        return "(nested too deeply to be shown)"
