"""``manage.py drain_outbox``: run a relay."""

from __future__ import annotations

import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections

from django_strangler import conf
from django_strangler.management.base import Progress, StranglerCommand
from django_strangler.management.stopping import stopped_by_signals
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.relay import Relay, Totals
from django_strangler.outbox.timeouts import own_connection

COUNT_AT_MOST = 1_000_000  # For the progress bar; counting more would take too long.


class Command(StranglerCommand):
    """Move pending events from the outbox to the broker."""

    help = (
        "Moves pending events from the outbox to the broker, in order per key, until "
        "it is stopped by SIGTERM or Ctrl-C. Any number may run, on any hosts."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Options; what is not given comes from the STRANGLER setting."""
        parser.add_argument(
            "--once",
            action="store_true",
            help="Drain what is due in lanes that no other relay holds, then exit.",
        )
        self.add_database_argument(
            parser,
            action="append",
            help="Drain this database's outbox; may be given several times.",
        )
        parser.add_argument(
            "--batch-size",
            type=_positive,
            metavar="EVENTS",
            help="How many events are marked by one statement.",
        )
        parser.add_argument(
            "--window",
            type=_positive,
            metavar="EVENTS",
            help="How many events may be sent and not yet marked.",
        )
        parser.add_argument(
            "--lease",
            type=_seconds(0.5),
            metavar="SECONDS",
            help="How long others wait before they take over from a dead relay.",
        )
        parser.add_argument(
            "--patience",
            type=_seconds(0),
            default=10.0,
            metavar="SECONDS",
            help="With --once: how long to wait for a broker that cannot be used.",
        )
        parser.add_argument(
            "--log-interval",
            type=_seconds(0.1),
            default=10.0,
            metavar="SECONDS",
            help="How often to say what was done, when there was anything.",
        )

        self.add_monitoring_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Build one relay per database and run them."""
        given = {
            name: options[name]
            for name in ("batch_size", "window", "lease")
            if options[name] is not None
        }
        settings = replace(conf.current(), **given)
        aliases = list(dict.fromkeys(options["database"] or ["default"]))
        stop = threading.Event()
        with stopped_by_signals(stop):
            if options["once"]:
                for alias in aliases:
                    self._drain(alias, settings, stop, options["patience"])
                return
            relays: list[Relay] = []
            beat = self.heartbeat(options["heartbeat_file"], *aliases)
            with self.measured(
                options["metrics_port"], databases=aliases, relays=relays
            ):
                self._run(
                    aliases, settings, stop, options["log_interval"], relays, beat
                )

    def _drain(
        self,
        alias: str,
        settings: conf.Settings,
        stop: threading.Event,
        patience: float,
    ) -> None:
        with own_connection(connections[alias]):
            pending = 0
            if self.stdout.isatty():
                rows = OutboxEvent.objects.using(alias).pending()
                rows = rows.filter(available_at=None).order_by()
                pending = rows[:COUNT_AT_MOST].count()
            progress = Progress(self.stdout, pending)
            relay = Relay(alias, settings=settings, steady=False, stop=stop)
            relay.on_progress = lambda totals: progress.show(totals.confirmed)
            totals = relay.drain(patience=patience)
            progress.show(totals.confirmed, last=True)
        self.stdout.write(_summary(alias, relay))

    def _run(
        self,
        aliases: list[str],
        settings: conf.Settings,
        stop: threading.Event,
        interval: float,
        relays: list[Relay],
        beat: Callable[[str], object],
    ) -> None:
        failures: list[Exception] = []

        def work(alias: str) -> None:
            try:
                with own_connection(connections[alias]):
                    relay = Relay(alias, settings=settings, stop=stop)
                    said = _Interval(self, alias, interval)

                    def progressed(totals: Totals) -> None:
                        said(totals)
                        beat(alias)

                    relay.on_progress = progressed
                    relays.append(relay)
                    relay.run()
            except Exception as error:  # noqa: BLE001  (Raised below.)
                failures.append(error)
            finally:
                stop.set()  # One that fails takes the others with it.

        # A Django connection belongs to its thread, so each database has one.
        others = [threading.Thread(target=work, args=[alias]) for alias in aliases[1:]]
        for thread in others:
            thread.start()
        work(aliases[0])
        for thread in others:
            thread.join()
        for relay in relays:
            self.stdout.write(_summary(relay.connection.alias, relay))
        if failures:
            raise failures[0]


class _Interval:
    """One line per interval in which anything was done."""

    def __init__(self, command: Command, alias: str, interval: float) -> None:
        self._command = command
        self._alias = alias
        self._interval = interval
        self._said = time.monotonic()
        self._done = 0

    def __call__(self, totals: Any) -> None:
        now = time.monotonic()
        if now < self._said + self._interval:
            return
        done = totals.confirmed - self._done
        if done:
            rate = done / (now - self._said)
            self._command.stdout.write(
                f"{self._alias}: confirmed {done:,} events, {rate:,.0f}/s; "
                f"parked {totals.parked:,} since the start"
            )
            self._command.stdout.flush()
        self._said, self._done = now, totals.confirmed


def _summary(alias: str, relay: Relay) -> str:
    totals = relay.totals
    parts = [f"{alias}: confirmed {totals.confirmed:,} events"]
    if totals.parked:
        parts.append(f"parked {totals.parked:,}")
    if totals.retried:
        parts.append(f"{totals.retried:,} refusals to be tried again")
    if relay.leases.held_by_others:
        parts.append(f"{relay.leases.held_by_others} lanes are held by other relays")
    return ", ".join(parts) + "."


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError("must be 1 or more")
    return value


def _seconds(least: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = float(text)
        if not least <= value <= 86400:  # Nor is NaN.
            raise ArgumentTypeError(f"must be {least:g} to 86400 seconds")
        return value

    return convert
