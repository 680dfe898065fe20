"""Goes from part to part, and lets nothing that fails spoil what does not need it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from django.core.checks import Tags, run_checks
from django.db import Error, connections

from django_strangler import conf
from django_strangler.brokers import broker_class
from django_strangler.brokers.base import Finding
from django_strangler.brokers.patterns import matches
from django_strangler.exceptions import ConfigurationError, StranglerError
from django_strangler.feature_flags.models import Flag
from django_strangler.inbox.subscribers import registry
from django_strangler.monitoring.state import State, look
from django_strangler.monitoring.verdict import span, verdict
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.timeouts import own_connection

from . import database

SKEW = 2.0  # Seconds between two clocks that are worth a word.
SAMPLE = 2_000  # Newest events, whose types are in use.


class Diagnosis(NamedTuple):
    """A finding, and the part that it is of."""

    part: str
    level: str
    what: str
    todo: str


class Doctor:
    """Examines one database's outbox and whatever belongs to it."""

    def __init__(self, alias: str = "default", *, management: str = "") -> None:
        self._alias = alias
        self._connection = connections[alias]
        self._management = management
        self._settings: conf.Settings | None = None
        self._is_connected = False

    def examine(self) -> Iterator[Diagnosis]:
        """Look at one part after the other."""
        parts: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
            ("settings", self._look_at_settings),
            ("database", self._look_at_database),
            ("broker", self._look_at_broker),
            ("clocks", self._look_at_clocks),
            ("relays", self._look_at_relays),
            ("consumers", self._look_at_consumers),
            ("flags", self._look_at_flags),
        )
        with own_connection(self._connection):
            for part, find in parts:
                try:
                    for found in find():
                        yield Diagnosis(part, *found)
                except _Unknown as error:
                    yield Diagnosis(part, "unknown", str(error), "")
                except (Error, StranglerError) as error:
                    what = f"It failed: {_in_one_line(error)}"
                    yield Diagnosis(part, "trouble", what, "")

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
                    "trouble", f"{message.msg} ({message.id})", message.hint or ""
                )
        if well:
            yield Finding("fine", "STRANGLER and what belongs to it pass the checks")

    def _look_at_database(self) -> Iterator[Finding]:
        try:
            self._connection.ensure_connection()
        except Error as error:
            yield Finding(
                "trouble",
                f"The database cannot be used: {_in_one_line(error)}",
                f"Start it, or correct DATABASES[{self._alias!r}]",
            )
            return
        self._is_connected = True
        yield from database.examine(self._connection, self._settings or conf.Settings())

    def _look_at_broker(self) -> Iterator[Finding]:
        settings = self._settings
        if settings is None:
            raise _Unknown("STRANGLER cannot be read, so nobody knows which")
        urls = settings.broker_url
        if urls[0].startswith("memory:"):
            yield Finding(
                "trouble",
                "memory:// forgets every event when the process ends",
                "Set STRANGLER['BROKER_URL'] to amqp://… or local://",
            )
        elif urls[0].startswith("local:"):
            count = len(registry.all())
            yield Finding("fine", f"The relay itself calls {count} subscribers")
        types = self._types_in_use(settings) if self._is_connected else set()
        yield from broker_class(urls).inspect(settings, types, self._management)
        for parked in self._state.parked:
            if parked.reason == "unroutable":
                yield Finding(
                    "trouble",
                    f"{parked.count} events {parked.type!r} are parked, for no queue "
                    f"was bound; the last one {span(parked.newest)} ago",
                    "Bind its queue, then run: manage.py replay_events --unroutable "
                    f"--type {parked.type}",
                )

    def _types_in_use(self, settings: conf.Settings) -> set[str]:
        """Of the newest events, but for those that may go nowhere."""
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
            yield Finding("fine", what)
        else:
            yield Finding("trouble", what, "timedatectl set-ntp true, on both hosts")

    def _look_at_relays(self) -> Iterator[Finding]:
        found = verdict(self._state, self._settings or conf.Settings())
        for reason in found.reasons:
            yield Finding("trouble", *reason)
        for relay in self._state.live_relays:
            beat = span(relay.heartbeat)
            yield Finding(
                "fine", f"{relay.name} drains {relay.lanes} lanes, seen {beat} ago"
            )
        if found.ready:
            yield Finding("fine", found.sentence)

    def _look_at_consumers(self) -> Iterator[Finding]:
        live, subscribers = self._state.live_consumers, registry.all()
        for each in live:
            yield Finding("fine", f"{each.name} consumes {each.queue!r}")
        settings = self._settings
        if settings is None or not settings.broker_url[0].startswith("amqp"):
            return
        patterns = {pattern for each in live for pattern in each.patterns}
        for subscriber in subscribers:
            if missing := sorted({*subscriber.patterns} - patterns):
                known = live[0].queue if live else "NAME"
                yield Finding(
                    "trouble",
                    f"No consumer that lives is bound for {', '.join(missing)}, which "
                    f"the subscriber {subscriber.name!r} wants",
                    f"manage.py consume_events --queue {known}"
                    + (" (start it anew)" if live else ""),
                )

    def _look_at_flags(self) -> Iterator[Finding]:
        self._needs_database()
        flags = {flag.name: flag for flag in Flag.objects.all()}
        for name, flag in flags.items():
            try:
                flag.prepare()
            except StranglerError as error:
                yield Finding(
                    "trouble",
                    f"The flag {name!r} cannot be used: {error}",
                    f"manage.py flag rollback {name}",
                )
        wanted = {each.flag for each in registry.all() if each.flag}
        for name in sorted(wanted - set(flags)):
            yield Finding(
                "trouble",
                f"A subscriber asks for the flag {name!r}, which does not exist: it "
                "gets no event",
                f"manage.py flag set {name} 0",
            )
        yield Finding("fine", f"{len(flags)} flags")

    @cached_property
    def _state(self) -> State:
        self._needs_database()
        return look(self._alias)

    def _needs_database(self) -> None:
        if not self._is_connected:
            raise _Unknown("The database would know, and cannot be used")


class _Unknown(Exception):
    """It cannot be looked at, for a reason that another part has told."""


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
