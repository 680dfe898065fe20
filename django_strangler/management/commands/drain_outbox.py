"""``manage.py drain_outbox``: run a relay."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections

from django_strangler import conf
from django_strangler.brokers import broker_class
from django_strangler.databases import own_connection
from django_strangler.management.arguments import seconds, whole_number
from django_strangler.management.base import StranglerCommand
from django_strangler.management.people import login
from django_strangler.management.progress import Interval, Progress
from django_strangler.management.stopping import stopped_by_signals
from django_strangler.outbox.models import OutboxEvent, Pause, outbox_alias
from django_strangler.outbox.pauses import pause, resume
from django_strangler.outbox.relay import Relay, Totals
from django_strangler.printable import are, how_many

_SWITCHES = ("pause", "resume")
_OF = {"": Pause.Scope.TYPE, "_key": Pause.Scope.KEY, "_all": Pause.Scope.ALL}
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
        events, since = "EVENTS", "SECONDS"
        for option, kind, unit, text in (
            ("batch-size", whole_number(), events, "Marked by one statement."),
            ("window", whole_number(), events, "Sent and not yet marked, at most."),
            ("lease", seconds(0.5), since, "Until others take over from a dead relay."),
            ("rate", whole_number(0), events, "Sent a second, at most; 0: no limit."),
        ):
            parser.add_argument(f"--{option}", type=kind, metavar=unit, help=text)
        parser.add_argument(
            "--patience",
            type=seconds(0),
            default=10.0,
            metavar="SECONDS",
            help="With --once: how long to wait for a broker that cannot be used.",
        )
        self.add_log_interval(parser)
        self._add_switches(parser)
        self.add_monitoring_arguments(parser)

    def _add_switches(self, parser: CommandParser) -> None:
        """What lets all relays pause, or go on, instead of running one."""
        for verb, does in (
            ("pause", "Let no relay send this type, until it is resumed, and exit."),
            ("resume", "Let relays send this type again, and exit."),
        ):
            for option, metavar, help in (
                (f"--{verb}", "TYPE", does),
                (f"--{verb}-key", "KEY", "The same for a key."),
            ):
                parser.add_argument(
                    option, action="append", default=[], metavar=metavar, help=help
                )
            parser.add_argument(
                f"--{verb}-all", action="store_true", help="The same for everything."
            )
        parser.add_argument(
            "--why", default="", metavar="TEXT", help="With --pause: written down."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Build one relay per database and run them."""
        if any(options[f"{verb}{of}"] for verb in _SWITCHES for of in _OF):
            for alias in options["database"] or [outbox_alias()]:
                self._switch(alias, options)
            return
        given = {
            name: options[name]
            for name in ("batch_size", "window", "lease", "rate")
            if options[name] is not None
        }
        settings = conf.current()
        settings = replace(settings, relay=replace(settings.relay, **given))
        aliases = list(dict.fromkeys(options["database"] or [outbox_alias()]))
        stop = threading.Event()
        with stopped_by_signals(stop):
            if options["once"]:
                for alias in aliases:
                    self._drain(alias, settings, stop, options["patience"])
                return
            self.stdout.write(
                f"Draining {', '.join(map(repr, aliases))} to "
                f"{broker_class(settings.broker_url).destination(settings)}. "
                "Ctrl-C ends it."
            )
            self.stdout.flush()
            relays: list[Relay] = []
            beat = self.heartbeat(options["heartbeat_file"], *aliases)
            with self.measured(
                options["metrics_port"],
                options["metrics_host"],
                databases=aliases,
                relays=relays,
            ):
                self._run(
                    aliases, settings, stop, options["log_interval"], relays, beat
                )

    def _switch(self, alias: str, options: dict[str, Any]) -> None:
        """Pause and resume, for all relays of a database."""
        for of, scope in _OF.items():
            given = options[f"resume{of}"]
            for name in [""] if given is True else given or []:
                was = resume(scope, name, by=login(), using=alias)
                said = "is sent again" if was else "was not paused"
                self.stdout.write(f"{name or 'Everything'} {said}.")
            given = options[f"pause{of}"]
            for name in [""] if given is True else given or []:
                pause(scope, name, by=login(), why=options["why"], using=alias)
                self.stdout.write(f"{name or 'Everything'} is paused.")

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
                    say = Interval(self.stdout, interval, _rate(relay))

                    def progressed(totals: Totals) -> None:
                        say()
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


def _rate(relay: Relay) -> Callable[[float], str]:
    """How quick it is, by what was confirmed since the last line."""
    before = 0

    def line(took: float) -> str:
        nonlocal before
        done, before = relay.totals.confirmed - before, relay.totals.confirmed
        if not done:
            return ""
        return (
            f"{relay.connection.alias}: confirmed {how_many(done, 'event')}, "
            f"{done / took:,.0f}/s; parked {relay.totals.parked:,} since the start"
        )

    return line


def _summary(alias: str, relay: Relay) -> str:
    totals = relay.totals
    parts = [f"{alias}: confirmed {how_many(totals.confirmed, 'event')}"]
    if totals.parked:
        parts.append(f"parked {totals.parked:,}")
    if totals.retried:
        parts.append(f"{how_many(totals.retried, 'refusal')} to be tried again")
    if relay.leases.held_by_others:
        parts.append(f"{are(relay.leases.held_by_others, 'lane')} held by other relays")
    return ", ".join(parts) + "."
