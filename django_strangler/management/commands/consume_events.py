"""``manage.py consume_events``: run a consumer."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_strangler import conf
from django_strangler.brokers import make_source
from django_strangler.brokers.base import PREFETCH, RETRY_DELAYS, WorkQueue
from django_strangler.inbox.consumer import FLUSH, Consumer
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.retrying import all_delays
from django_strangler.inbox.settlement import Totals
from django_strangler.inbox.subscribers import Subscriber, registry
from django_strangler.management.arguments import DAY, seconds, whole_number
from django_strangler.management.base import StranglerCommand
from django_strangler.management.progress import Interval
from django_strangler.management.stopping import stopped_by_signals
from django_strangler.printable import how_many


class Command(StranglerCommand):
    """Call subscribers for the events of a queue."""

    help = (
        "Takes events from a RabbitMQ queue and calls this project's subscribers for "
        "them, until it is stopped by SIGTERM or Ctrl-C. Declares the queue and what "
        "it needs beside it, and binds it for what the subscribers want."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument("--queue", required=True, type=_name, metavar="NAME")
        parser.add_argument(
            "--subscribers",
            nargs="+",
            default=[],
            metavar="NAME",
            help="Consume for these alone; a queue of its own is for each such set.",
        )
        parser.add_argument(
            "--threads",
            type=whole_number(1, 65535),
            help="How many subscribers may be at work at once (4; on SQLite 1).",
        )
        parser.add_argument(
            "--prefetch",
            type=whole_number(1, 65535),
            default=PREFETCH,
            metavar="DELIVERIES",
            help="How many deliveries to take before the first is done.",
        )
        parser.add_argument(
            "--retry-delays",
            type=seconds(0.001, 30 * DAY),
            nargs="*",
            default=RETRY_DELAYS,
            metavar="SECONDS",
            help="How long a failed delivery waits before it comes again; growing.",
        )
        parser.add_argument(
            "--single-active",
            action="store_true",
            help="Of several consumers of the queue one is active: order per key.",
        )
        parser.add_argument(
            "--no-declare",
            action="store_false",
            dest="declare",
            help="Declare and bind nothing; only look whether the queues are there.",
        )
        parser.add_argument(
            "--beside-newer",
            action="store_true",
            help="Acknowledge events although another live consumer of the queue has "
            "subscribers for them that this one lacks.",
        )
        parser.add_argument(
            "--unbind",
            action="append",
            default=[],
            metavar="PATTERN",
            help="Remove this binding of the queue.",
        )
        self.add_log_interval(parser)
        self.add_monitoring_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Build the consumer and run it."""
        subscribers = _chosen(options["subscribers"])
        patterns = {each for one in subscribers for each in one.patterns}
        if wanted := patterns & set(options["unbind"]):
            raise CommandError(
                f"{wanted.pop()!r} is wanted by a subscriber, so it cannot be unbound.",
                returncode=2,
            )
        settings = conf.current()
        queue = WorkQueue(
            name=options["queue"],
            patterns=tuple(sorted(patterns)),
            unbind=tuple(options["unbind"]),
            prefetch=options["prefetch"],
            retry_delays=all_delays(subscribers, options["retry_delays"]),
            declare=options["declare"],
            single_active=options["single_active"],
        )
        # SQLite has one writer: more threads would only wait for each other.
        is_sqlite = connections[inbox_alias()].vendor == "sqlite"
        threads = options["threads"] or (1 if is_sqlite else 4)
        self._warn_of_pool(threads)
        stop = threading.Event()
        consumer = Consumer(
            make_source(settings, queue),
            subscribers=subscribers,
            threads=threads,
            delays=options["retry_delays"],
            beside_newer=options["beside_newer"],
            settings=settings,
            stop=stop,
        )
        say = Interval(self.stdout, options["log_interval"], _news(consumer))
        beat = self.heartbeat(options["heartbeat_file"], "consumer")

        def progressed(totals: Totals) -> None:
            say()
            beat("consumer")

        consumer.on_progress = progressed
        self.stdout.write(
            f"Consuming {queue.name!r} for {how_many(len(subscribers), 'subscriber')}: "
            f"{', '.join(queue.patterns)}."
        )
        self.stdout.flush()
        # Time for what is in hand to be finished, or given up.
        patience = settings.handler_timeout + FLUSH + 5
        with (
            stopped_by_signals(stop, within=patience),
            self.measured(
                options["metrics_port"], options["metrics_host"], consumer=consumer
            ),
        ):
            consumer.run()
        self.stdout.write(_shown(consumer.totals))

    def _warn_of_pool(self, threads: int) -> None:
        """Threads wait for each other where Django's pool has too few connections."""
        alias = inbox_alias()
        pool = connections[alias].settings_dict["OPTIONS"].get("pool")
        if not pool:
            return
        given = {} if pool is True else pool
        size = given.get("max_size") or given.get("min_size", 4)  # As psycopg has it.
        if size < 2 * threads:
            self.stderr.write(
                f"The pool of the database {alias!r} has {how_many(size, 'connection')}"
                f" for {how_many(threads, 'thread')}. A thread needs one, and another "
                f"while its subscriber hangs: set max_size to {2 * threads}."
            )


def _chosen(names: list[str]) -> list[Subscriber]:
    """The subscribers that are named, or all."""
    subscribers = registry.all()
    if registry.broken_modules:
        module, why = next(iter(registry.broken_modules.items()))
        raise CommandError(
            f"{module} cannot be imported ({why}), so it is not known which events its "
            "subscribers want. Mend it."
        )
    if not subscribers:
        raise CommandError(
            "There are no subscribers. Write one in a module subscribers of an "
            "installed app."
        )
    known = {each.name: each for each in subscribers}
    if missing := [name for name in names if name not in known]:
        raise CommandError(
            f"There is no subscriber {missing[0]!r}. These are registered: "
            f"{', '.join(sorted(known))}.",
            returncode=2,
        )
    return [known[name] for name in dict.fromkeys(names)] or subscribers


def _news(consumer: Consumer) -> Callable[[float], str]:
    """What was done, if that is more than the last line said."""
    before = _shown(Totals())

    def line(took: float) -> str:
        nonlocal before
        known, before = before, _shown(consumer.totals)
        return "" if before == known else before

    return line


def _shown(totals: Totals) -> str:
    parts = [f"handled {how_many(totals.handled, 'delivery', 'deliveries')}"]
    if totals.retried:
        parts.append(f"{totals.retried:,} to be retried")
    if totals.dead:
        parts.append(f"{totals.dead:,} became dead letters")
    return ", ".join(parts) + "."


def _name(text: str) -> str:
    # AMQP's 255 bytes, less what the queues beside it are called.
    if not text.isprintable() or not 1 <= len(text.encode()) <= 240:
        raise argparse.ArgumentTypeError("it must have 1 to 240 printable bytes")
    if text.startswith("amq."):
        raise argparse.ArgumentTypeError("names in amq. are RabbitMQ's own")
    return text
