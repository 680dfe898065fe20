"""The doctor: looks at every part; says what is not well, and which line mends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from django.core.checks import Tags, run_checks
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from django_strangler import conf
from django_strangler.brokers import broker_class
from django_strangler.brokers.base import Finding
from django_strangler.brokers.patterns import matches
from django_strangler.exceptions import ConfigurationError, StranglerError
from django_strangler.feature_flags.models import Flag
from django_strangler.inbox.subscribers import registry
from django_strangler.outbox.listening import Wakeup
from django_strangler.outbox.models import INDEX_NAME, OutboxEvent
from django_strangler.outbox.store import Store
from django_strangler.outbox.timeouts import own_connection

from .state import State, look, span, verdict

SKEW = 2.0  # Seconds between two clocks that are worth a word.
SAMPLE = 2_000  # Newest events, whose types are in use.
LARGE = 10_000  # Rows; on a smaller table, to read all of it is no mistake.


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
        self._connection: BaseDatabaseWrapper = connections[alias]
        self._management = management
        self._settings = conf.Settings()
        self._is_configured = False
        self._state: State | None = None

    def examine(self) -> Iterator[Diagnosis]:
        """Look at one part after the other; what fails spoils only what needs it."""
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
                except (Error, StranglerError) as error:
                    yield Diagnosis(part, "trouble", f"It failed: {error}".strip(), "")

    # Settings

    def _look_at_settings(self) -> Iterator[Finding]:
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
        try:
            self._settings = conf.current()
        except ConfigurationError:
            return  # The first of the checks has said so.
        self._is_configured = True
        if well:
            yield Finding("fine", "STRANGLER and what belongs to it pass the checks")

    # The database

    def _look_at_database(self) -> Iterator[Finding]:
        connection = self._connection
        connection.ensure_connection()
        version = ".".join(map(str, connection.get_database_version()))
        yield Finding("fine", f"{connection.display_name} {version} answers")
        executor = MigrationExecutor(connection)
        targets = [key for key in executor.loader.graph.leaf_nodes() if _is_ours(key)]
        if missing := executor.migration_plan(targets):
            names = ", ".join(migration.name for migration, _ in missing)
            yield Finding(
                "trouble",
                f"Migrations are missing: {names}",
                f"manage.py migrate strangler --database {self._alias}",
            )
            return
        yield from self._isolation()
        yield from self._index()
        yield from self._sequence()
        yield from self._notify()

    def _isolation(self) -> Iterator[Finding]:
        sql = {
            "postgresql": "SHOW default_transaction_isolation",
            "mysql": "SHOW VARIABLES WHERE variable_name IN "
            "('tx_isolation', 'transaction_isolation')",
        }.get(self._connection.vendor)
        if sql is None:
            return
        level = str(self._ask(sql)[0][-1]).replace("-", " ").lower()
        options = self._connection.settings_dict["OPTIONS"]
        if self._connection.vendor == "postgresql" and "isolation_level" in options:
            given: Any = self._connection.isolation_level  # type: ignore[attr-defined]
            level = given.name.replace("_", " ").lower()
        if level == "read committed":
            yield Finding("fine", "Transactions are READ COMMITTED")
        else:
            yield Finding(
                "trouble",
                f"Transactions are {level.upper()}: requests that publish with the "
                "same idempotency key at once, and subscribers of the same event, fail "
                "with serialization errors",
                f"DATABASES[{self._alias!r}]['OPTIONS']: leave isolation_level out, or "
                'set it to "read committed"',
            )

    def _index(self) -> Iterator[Finding]:
        connection, table = self._connection, OutboxEvent._meta.db_table
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, table)
        if INDEX_NAME not in found:
            without_locks = "CONCURRENTLY " if connection.vendor == "postgresql" else ""
            columns = "confirmed_at, parked_at, available_at, id"
            yield Finding(
                "trouble",
                f"The index {INDEX_NAME} is missing: the relay reads all of {table}",
                f"CREATE INDEX {without_locks}{INDEX_NAME} ON {table} ({columns});",
            )
            return
        for name, sql, params in self._statements():
            plan = self._ask(f"{self._explain} {sql}", params)
            if INDEX_NAME in "\n".join(str(line) for line in plan):
                continue
            if self._is_small():
                what = "is there, and the table too small to need it"
                yield Finding("fine", f"The index {INDEX_NAME} {what}")
                return
            analyze = "ANALYZE TABLE" if connection.vendor == "mysql" else "ANALYZE"
            yield Finding(
                "trouble",
                f"The relay's {name} goes without the index {INDEX_NAME}",
                f"{analyze} {table};",
            )
            return
        yield Finding("fine", f"The relay reads by the index {INDEX_NAME}")

    def _statements(self) -> list[tuple[str, str, Any]]:
        """What a relay asks, as it asks it: name, SQL and parameters."""
        store, seen = Store(self._connection), []

        def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            seen.append((sql, params))
            return execute(sql, params, many, context)

        with self._connection.execute_wrapper(note):
            store.read(range(32), 1)
            store.read_delayed(range(32), 1)
            store.old(self._settings.retention, 1)
        names = ("read", "read of delayed events", "search for what is to be pruned")
        return [(name, *each) for name, each in zip(names, seen, strict=True)]

    def _is_small(self) -> bool:
        rows = OutboxEvent.objects.using(self._alias).order_by().values("pk")
        return rows[:LARGE].count() < LARGE

    @property
    def _explain(self) -> str:
        return (
            "EXPLAIN QUERY PLAN" if self._connection.vendor == "sqlite" else "EXPLAIN"
        )

    def _sequence(self) -> Iterator[Finding]:
        """Ids are the order of publishing: nobody may take some in advance."""
        table = OutboxEvent._meta.db_table
        if self._connection.vendor == "postgresql":
            ((name, cache),) = self._ask(
                "SELECT seqrelid::regclass::text, seqcache FROM pg_sequence "
                "WHERE seqrelid = pg_get_serial_sequence(%s, 'id')::regclass",
                [table],
            )
            what = f"The sequence {name} hands each session {cache} ids at once"
            todo = f"ALTER SEQUENCE {name} CACHE 1;"
        elif self._connection.vendor == "mysql":
            ((cache,),) = self._ask("SELECT @@auto_increment_increment")
            what = f"Ids are counted in steps of {cache}, as where several nodes write"
            todo = "SET GLOBAL auto_increment_increment = 1; let one node write."
        else:
            return
        if cache == 1:
            yield Finding("fine", "Ids are handed out one by one")
        else:
            yield Finding(
                "trouble", f"{what}: later events of a key get lower ids", todo
            )

    def _notify(self) -> Iterator[Finding]:
        settings = self._settings
        wakeup = Wakeup(self._connection, threading.Event(), settings)
        if self._connection.vendor != "postgresql":
            return
        if not wakeup.can_listen():
            why = "needs psycopg 3.2" if settings.notify else "is off"
            pause = f"every {settings.poll_interval:g} s"
            yield Finding("fine", f"NOTIFY {why}: events are found by polling {pause}")
            return
        wakeup.wait(0)
        if wakeup.is_listening:
            yield Finding("fine", "NOTIFY wakes relays")
            wakeup.close()
            return
        yield Finding(
            "trouble",
            f"LISTEN hears nothing over {self._alias!r}, as behind a "
            "transaction-pooling proxy: events wait for the next poll",
            "Run the relay over a direct connection: drain_outbox --database "
            "direct; or set STRANGLER['NOTIFY'] to False.",
        )

    # The others

    def _look_at_broker(self) -> Iterator[Finding]:
        if not self._is_configured:
            yield Finding("unknown", "STRANGLER cannot be read, so nobody knows which")
            return
        settings, urls = self._settings, self._settings.broker_url
        if urls[0].startswith("memory:"):
            yield Finding(
                "trouble",
                "memory:// forgets every event when the process ends",
                "Set STRANGLER['BROKER_URL'] to amqp://… or local://",
            )
        elif urls[0].startswith("local:"):
            count = len(registry.all())
            yield Finding("fine", f"The relay itself calls {count} subscribers")
        newest = OutboxEvent.objects.using(self._alias).order_by("-id")
        types = {
            type
            for type in newest.values_list("type", flat=True)[:SAMPLE]
            if not self._is_ignored(type)
        }
        yield from broker_class(urls).inspect(settings, types, self._management)
        for parked in self._current.parked:
            if parked.reason == "unroutable":
                yield Finding(
                    "trouble",
                    f"{parked.count} events {parked.type!r} are parked, for no queue "
                    f"was bound; the last one {span(parked.newest)} ago",
                    "Bind its queue, then run: manage.py replay_events --unroutable "
                    f"--type {parked.type}",
                )

    def _is_ignored(self, type: str) -> bool:
        rules = self._settings.unroutable.items()
        return next((r for p, r in rules if matches(p, type)), "park") == "ignore"

    def _look_at_clocks(self) -> Iterator[Finding]:
        ahead = self._current.host_ahead
        what = f"This host's clock is {abs(ahead):.1f} s "
        what += "ahead of the database's" if ahead > 0 else "behind the database's"
        if abs(ahead) <= SKEW:
            yield Finding("fine", what)
        else:
            yield Finding("trouble", what, "timedatectl set-ntp true, on both hosts")

    def _look_at_relays(self) -> Iterator[Finding]:
        found = verdict(self._current, self._settings)
        for reason in found.reasons:
            what, _, todo = reason.partition(". ")
            yield Finding("trouble", what, todo)
        for relay in self._current.live_relays:
            beat = span(relay.heartbeat)
            yield Finding(
                "fine", f"{relay.name} drains {relay.lanes} lanes, seen {beat} ago"
            )
        if found.ready:
            yield Finding("fine", found.sentence)

    def _look_at_consumers(self) -> Iterator[Finding]:
        live, subscribers = self._current.live_consumers, registry.all()
        for each in live:
            yield Finding("fine", f"{each.name} consumes {each.queue!r}")
        if not self._settings.broker_url[0].startswith("amqp"):
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

    @property
    def _current(self) -> State:
        if self._state is None:
            self._state = look(self._alias)
        return self._state

    def _ask(self, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows


def _is_ours(key: tuple[str, str]) -> bool:
    return key[0] == "strangler"
