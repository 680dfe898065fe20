"""Goes from part to part, and lets nothing that fails spoil what does not need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from django.core.checks import Tags, run_checks
from django.db import Error, connections, router

from django_strangler import conf
from django_strangler.brokers import broker_class
from django_strangler.brokers.patterns import matches
from django_strangler.databases import own_connection
from django_strangler.exceptions import ConfigurationError, StranglerError
from django_strangler.feature_flags.models import Flag
from django_strangler.findings import Finding, Level
from django_strangler.inbox.subscribers import registry
from django_strangler.monitoring import examinations, letters
from django_strangler.monitoring.flow import again, flow, span, wants_again
from django_strangler.monitoring.state import State, look
from django_strangler.outbox.held import UNROUTABLE
from django_strangler.outbox.models import OutboxEvent, outbox_alias
from django_strangler.printable import are, how_many

from . import database, sequences

SKEW = 2.0  # Seconds between two clocks that are worth a word.
SAMPLE = 2_000  # Newest events, whose types are in use.


class Diagnosis(NamedTuple):
    """A finding, and the part that it is of."""

    part: str
    level: Level
    what: str
    todo: str = ""


class Doctor:
    """Examines one database's outbox and what belongs to it, then the apps' parts."""

    def __init__(self, alias: str | None = None, *, management: str = "") -> None:
        self._alias = alias or outbox_alias()
        self._connection = connections[self._alias]
        self._management = management
        self._settings: conf.Settings | None = None
        self._is_connected = False

    def examine(self) -> Iterator[Diagnosis]:
        """Look at one part after the other."""
        parts: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
            ("settings", self._look_at_settings),
            ("database", self._look_at_database),
            ("broker", self._look_at_broker),
            ("ids", sequences.find),
            ("clocks", self._look_at_clocks),
            ("relays", self._look_at_relays),
            ("consumers", self._look_at_consumers),
            ("flags", self._look_at_flags),
            *examinations.registered().items(),
        )
        said = ""  # What was found so far: one cause is one trouble.
        with own_connection(self._connection):
            for part, find in parts:
                try:
                    for level, text, todo in find():
                        said += text
                        yield Diagnosis(part, Level(level), text, todo)
                except _Unknown as error:
                    yield Diagnosis(part, Level.UNKNOWN, str(error))
                except Exception as error:  # noqa: BLE001  The other parts go on.
                    why = in_one_line(error)
                    if why not in said:
                        said += why
                        yield Diagnosis(part, Level.TROUBLE, f"It failed: {why}")

    def _look_at_settings(self) -> Iterator[Finding]:
        with suppress(ConfigurationError):  # The first of the checks says so.
            self._settings = conf.current()
        tags = [Tags.compatibility, Tags.database]
        well = True
        for message in run_checks(tags=tags, databases=[self._alias]):
            if (message.id or "").startswith("strangler.") and not (
                message.is_silenced()
            ):
                well = False
                yield Finding(
                    Level.TROUBLE, f"{message.msg} ({message.id})", message.hint or ""
                )
        if well:
            yield Finding(
                Level.FINE, "STRANGLER and what belongs to it pass the checks"
            )

    def _look_at_database(self) -> Iterator[Finding]:
        try:
            self._connection.ensure_connection()
        except Error as error:
            yield Finding(
                Level.TROUBLE,
                f"The database cannot be used: {in_one_line(error)}",
                f"Start it, or correct DATABASES[{self._alias!r}]",
            )
            return
        self._is_connected = True
        yield from database.examine(self._connection)

    def _look_at_broker(self) -> Iterator[Finding]:
        settings = self._settings
        if settings is None:
            raise _Unknown("STRANGLER cannot be read, so the broker is not known")
        types = self._types_in_use(settings) if self._is_connected else set()
        yield from broker_class(settings.broker_url).inspect(
            settings, types, self._management
        )
        for parked in self._state.parked:
            if consumer := wants_again(self._state, parked):
                yield Finding(Level.TROUBLE, *again(parked, consumer))
            elif parked.reason == UNROUTABLE:
                yield Finding(
                    Level.TROUBLE,
                    f"{are(parked.count, 'event')} parked of type {parked.type!r}, "
                    "because no queue was bound for it; the last one "
                    f"{span(parked.newest)} ago",
                    "Bind its queue, then run: manage.py replay_events --unroutable "
                    f"--type {parked.type}",
                )

    def _types_in_use(self, settings: conf.Settings) -> set[str]:
        """The types of the newest events, but for those that may go nowhere."""
        newest = OutboxEvent.objects.using(self._alias).order_by("-id")
        rules = settings.unroutable.items()

        def is_ignored(type: str) -> bool:
            return next((r for p, r in rules if matches(p, type)), "") == "ignore"

        types = set(newest.values_list("type", flat=True)[:SAMPLE])
        return {type for type in types if not is_ignored(type)}

    def _look_at_clocks(self) -> Iterator[Finding]:
        ahead = self._state.host_ahead
        what = f"This host's clock is {abs(ahead):.1f} s "
        what += "ahead of the database's" if ahead > 0 else "behind the database's"
        if abs(ahead) <= SKEW:
            yield Finding(Level.FINE, what)
        else:
            yield Finding(
                Level.TROUBLE, what, "timedatectl set-ntp true, on both hosts"
            )

    def _look_at_relays(self) -> Iterator[Finding]:
        settings = self._settings or conf.Settings()
        queues = (each.queue for each in self._state.consumers)
        dead = letters.counts(queues, settings, seconds=0.0, patience=5.0)
        # What no queue wants has been told with the broker.
        others = [each for each in self._state.parked if each.reason != UNROUTABLE]
        state = replace(self._state, parked=tuple(others))
        found = flow(state, settings, dead or {})
        for reason in (*found.reasons, *found.concerns):
            yield Finding(Level.TROUBLE, *reason)
        for relay in self._state.live_relays:
            beat = span(relay.heartbeat)
            yield Finding(
                Level.FINE,
                f"{relay.name} drains {how_many(relay.lanes, 'lane')}, seen {beat} ago",
            )
        if found.ready:
            yield Finding(Level.FINE, found.sentence)
        if dead is None and broker_class(settings.broker_url).dead_letters:
            yield Finding(Level.UNKNOWN, "The dead letters could not be counted")

    def _look_at_consumers(self) -> Iterator[Finding]:
        live, subscribers = self._state.live_consumers, registry.all()
        for each in live:
            yield Finding(Level.FINE, f"{each.name} consumes {each.queue!r}")
        settings = self._settings
        if settings is None or broker_class(settings.broker_url).source is None:
            return
        patterns = {pattern for each in live for pattern in each.patterns}
        for subscriber in subscribers:
            if missing := sorted({*subscriber.patterns} - patterns):
                known = live[0].queue if live else "NAME"
                yield Finding(
                    Level.TROUBLE,
                    f"No live consumer is bound for {', '.join(missing)}, which "
                    f"the subscriber {subscriber.name!r} wants",
                    f"manage.py consume_events --queue {known}"
                    + (" (start it anew)" if live else ""),
                )

    def _look_at_flags(self) -> Iterator[Finding]:
        self._needs_database()
        rows = Flag.objects.using(router.db_for_write(Flag))
        flags = {flag.name: flag for flag in rows}
        for name, flag in flags.items():
            try:
                flag.prepare()
            except StranglerError as error:
                yield Finding(
                    Level.TROUBLE,
                    f"The flag {name!r} cannot be used: {error}",
                    f"manage.py flag rollback {name}",
                )
        wanted = {each.flag for each in registry.all() if each.flag}
        for name in sorted(wanted - set(flags)):
            yield Finding(
                Level.TROUBLE,
                f"A subscriber asks for the flag {name!r}, which does not exist: it "
                "gets no event",
                f"manage.py flag set {name} 0",
            )
        yield Finding(Level.FINE, how_many(len(flags), "flag"))

    @cached_property
    def _state(self) -> State:
        self._needs_database()
        return look(self._alias)

    def _needs_database(self) -> None:
        if not self._is_connected:
            raise _Unknown("The database would know, and cannot be used")


class _Unknown(Exception):
    """It cannot be looked at, for a reason that another part has told."""


def in_one_line(error: Exception) -> str:
    """What went wrong, with its kind if it has no words."""
    return " ".join(str(error).split()) or type(error).__name__
