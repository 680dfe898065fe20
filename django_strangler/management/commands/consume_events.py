"""``manage.py consume_events``: run a consumer."""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_strangler import conf
from django_strangler.brokers import make_source
from django_strangler.brokers.base import PREFETCH, RETRY_DELAYS, WorkQueue
from django_strangler.inbox.consumer import FLUSH, Consumer, Totals
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.subscribers import registry
from django_strangler.management.base import StranglerCommand
from django_strangler.management.stopping import stopped_by_signals


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
            "--threads",
            type=_positive,
            help="How many subscribers may be at work at once (4; on SQLite 1).",
        )
        parser.add_argument(
            "--prefetch",
            type=_positive,
            default=PREFETCH,
            metavar="DELIVERIES",
            help="How many deliveries to take before the first is done.",
        )
        parser.add_argument(
            "--retry-delays",
            type=_seconds,
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
            "--unbind",
            action="append",
            default=[],
            metavar="PATTERN",
            help="Remove this binding of the queue.",
        )
        parser.add_argument(
            "--log-interval",
            type=float,
            default=10.0,
            metavar="SECONDS",
            help="How often to say what was done, when there was anything.",
        )

        self.add_monitoring_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Build the consumer and run it."""
        subscribers = registry.all()
        if registry.broken_modules:
            module, why = next(iter(registry.broken_modules.items()))
            raise CommandError(
                f"{module} cannot be imported ({why}), and nobody knows which events "
                "its subscribers want. Mend it."
            )
        if not subscribers:
            raise CommandError(
                "There are no subscribers. Write one in a module subscribers of an "
                "installed app."
            )
        patterns = {each for one in subscribers for each in one.patterns}
        if wanted := patterns & set(options["unbind"]):
            raise CommandError(
                f"{wanted.pop()!r} is wanted by a subscriber.", returncode=2
            )
        settings = conf.current()
        queue = WorkQueue(
            name=options["queue"],
            patterns=tuple(sorted(patterns)),
            unbind=tuple(options["unbind"]),
            prefetch=options["prefetch"],
            retry_delays=tuple(options["retry_delays"]),
            declare=options["declare"],
            single_active=options["single_active"],
        )
        # SQLite has one writer: more threads would only wait for each other.
        is_sqlite = connections[inbox_alias()].vendor == "sqlite"
        threads = options["threads"] or (1 if is_sqlite else 4)
        stop = threading.Event()
        consumer = Consumer(
            make_source(settings, queue), threads=threads, settings=settings, stop=stop
        )
        said = _Interval(self, options["log_interval"])
        beat = self.heartbeat(options["heartbeat_file"], "consumer")

        def progressed(totals: Totals) -> None:
            said(totals)
            beat("consumer")

        consumer.on_progress = progressed
        self.stdout.write(
            f"Consuming {queue.name!r} for {len(subscribers)} subscribers: "
            f"{', '.join(queue.patterns)}."
        )
        self.stdout.flush()
        # Time for what is in hand to be finished, or given up.
        patience = settings.handler_timeout + FLUSH + 5
        with (
            stopped_by_signals(stop, within=patience),
            self.measured(options["metrics_port"], consumer=consumer),
        ):
            consumer.run()
        self.stdout.write(_shown(consumer.totals))


class _Interval:
    """One line per interval in which anything was done."""

    def __init__(self, command: Command, interval: float) -> None:
        self._command, self._interval = command, interval
        self._said = time.monotonic()
        self._before = _shown(Totals())

    def __call__(self, totals: Totals) -> None:
        now = time.monotonic()
        if now < self._said + self._interval:
            return
        self._said = now
        text = _shown(totals)
        if text != self._before:
            self._before = text
            self._command.stdout.write(text)
            self._command.stdout.flush()


def _shown(totals: Totals) -> str:
    parts = [f"handled {totals.handled:,} deliveries"]
    if totals.retried:
        parts.append(f"{totals.retried:,} to be retried")
    if totals.dead:
        parts.append(f"{totals.dead:,} became dead letters")
    return ", ".join(parts) + "."


def _positive(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 65535")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.001 <= value <= 30 * 86400:
        raise argparse.ArgumentTypeError(f"{text} is not up to 30 days, in seconds")
    return value


def _name(text: str) -> str:
    # AMQP's 255 bytes, less what the queues beside it are called.
    if not text.isprintable() or not 1 <= len(text.encode()) <= 240:
        raise argparse.ArgumentTypeError("1 to 240 bytes, no control characters")
    if text.startswith("amq."):
        raise argparse.ArgumentTypeError("names from amq. on are RabbitMQ's own")
    return text
