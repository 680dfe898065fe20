"""``manage.py drain_outbox``: run a relay."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from django_strangler import conf
from django_strangler.management.base import (
    Progress,
    StranglerCommand,
    stopped_by_signals,
)
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from django_strangler.outbox.timeouts import set_timeouts

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
        parser.add_argument(
            "--database",
            metavar="ALIAS",
            action="append",
            help="Drain this database's outbox; may be given several times.",
        )
        parser.add_argument("--batch-size", type=_positive, metavar="EVENTS")
        parser.add_argument(
            "--window",
            type=_positive,
            metavar="EVENTS",
            help="How many events may be sent and not yet marked.",
        )
        parser.add_argument("--lease", type=float, metavar="SECONDS")
        parser.add_argument(
            "--log-interval",
            type=float,
            default=10.0,
            metavar="SECONDS",
            help="How often to say what was done, when there was anything.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Build one relay per database and run them."""
        given = {
            name: options[name]
            for name in ("batch_size", "window", "lease")
            if options[name] is not None
        }
        if given.get("lease", 1.0) < 0.5:
            raise CommandError("--lease must be 0.5 seconds or more.", returncode=2)
        settings = replace(conf.current(), **given)
        aliases = list(dict.fromkeys(options["database"] or ["default"]))
        for alias in aliases:
            if alias not in connections:
                raise CommandError(
                    f"There is no database {alias!r} in DATABASES.", returncode=2
                )
        stop = threading.Event()
        with stopped_by_signals(stop):
            if options["once"]:
                for alias in aliases:
                    self._drain(alias, settings, stop)
            else:
                self._run(aliases, settings, stop, options["log_interval"])

    def _drain(
        self, alias: str, settings: conf.Settings, stop: threading.Event
    ) -> None:
        set_timeouts(connections[alias])
        relay = Relay(alias, settings=settings, steady=False, stop=stop)
        pending = 0
        if self.stdout.isatty():
            rows = OutboxEvent.objects.using(alias).pending().filter(available_at=None)
            pending = rows.order_by()[:COUNT_AT_MOST].count()
        progress = Progress(self.stdout, pending)
        relay.on_progress = lambda totals: progress.show(totals.confirmed)
        totals = relay.drain()
        progress.show(totals.confirmed, last=True)
        self.stdout.write(_summary(alias, relay))

    def _run(
        self,
        aliases: list[str],
        settings: conf.Settings,
        stop: threading.Event,
        interval: float,
    ) -> None:
        relays = []
        for alias in aliases:
            set_timeouts(connections[alias])
        failures: list[BaseException] = []

        def work(alias: str) -> None:
            relay = Relay(alias, settings=settings, stop=stop)
            relay.on_progress = _Interval(self, alias, interval)
            relays.append(relay)
            try:
                relay.run()
            except BaseException as error:
                failures.append(error)
                stop.set()
                raise

        # A Django connection belongs to its thread, so each database has one.
        others = [threading.Thread(target=work, args=[alias]) for alias in aliases[1:]]
        for thread in others:
            thread.start()
        try:
            work(aliases[0])
        finally:
            stop.set()
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
        raise ValueError(text)
    return value
