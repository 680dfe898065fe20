"""Django's databases for one test each, under an alias that exists as long as it."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from monolith import database

from .base import Service
from .instances import Instance
from .services import KINDS, Services
from .stores import MariaDBStore, PostgreSQLStore, SQLiteStore, Store

SCHEMES = {"postgresql": "postgresql", "mysql": "mariadb"}  # By Django's vendor.


class Databases:
    """Makes them, migrated, on the services of this run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stores: dict[str, Store] = {}
        self._spare: dict[Store, list[str]] = defaultdict(list)  # As good as new.
        self._rolled_back: dict[str, str] = {}  # The database for that, by store.
        self._lasting: set[str] = set()  # Stores on servers that are not ours.
        self.open: set[str] = set()

    @contextlib.contextmanager
    def fresh(
        self, source: str | Service, *, port: int | None = None, **options: Any
    ) -> Iterator[str]:
        """
        The alias of a database of its own, dropped in the end.

        The source is "sqlite", "postgresql", "mariadb" or a service; the options go
        into OPTIONS; another port leads through a proxy.
        """
        store = self._store(source)
        name = self._take(store)
        config = store.config(name)
        config["OPTIONS"] |= options
        if port is not None:
            config["PORT"] = port
        try:
            with self._alias(source, config) as alias:
                yield alias
        finally:
            if store.restore(name):
                self._spare[store].append(name)
            else:
                store.drop(name)

    def _take(self, store: Store) -> str:
        if spare := self._spare[store]:
            return spare.pop()
        name = store.new_name()
        store.copy(store.migrated, name)
        return name

    @contextlib.contextmanager
    def rolled_back(self, source: str | Service) -> Iterator[str]:
        """The alias of a database in a transaction that never commits."""
        store = self._store(source)
        key = str(source)
        if key not in self._rolled_back:
            self._rolled_back[key] = store.new_name()
            store.copy(store.migrated, self._rolled_back[key])
        config = store.config(self._rolled_back[key])
        with self._alias(source, config) as alias, _never_committed(alias):
            yield alias

    def close(self) -> None:
        """Drop what tests shared, on servers that go on."""
        for key, store in self._stores.items():
            if key in self._lasting:
                for name in (store.migrated, *self._spare[store]):
                    store.drop(name)
                store.drop(self._rolled_back.get(key, store.migrated))

    def _store(self, source: str | Service) -> Store:
        key = str(source)
        if key in KINDS:
            self._services.get(KINDS[key])  # One that has died harms one test only.
        if key not in self._stores:
            store = self._make_store(source)
            store.sweep()
            store.migrated = store.new_name()
            store.create(store.migrated)
            with self._alias(source, store.config(store.migrated)) as alias:
                call_command("migrate", database=alias, verbosity=0, interactive=False)
            self._stores[key] = store
        return self._stores[key]

    def _make_store(self, source: str | Service) -> Store:
        if source == "sqlite":
            return SQLiteStore(self._services.run.subfolder("sqlite"))
        service = (
            self._services.get(KINDS[source]) if isinstance(source, str) else source
        )
        if not isinstance(service, Instance):
            self._lasting.add(str(source))
        if service.url.startswith("postgres"):
            return PostgreSQLStore(service.url)
        return MariaDBStore(service.url)

    @contextlib.contextmanager
    def _alias(self, source: str | Service, config: dict[str, Any]) -> Iterator[str]:
        if config["ENGINE"] == "django.db.backends.mysql":
            database.use_pymysql_if_needed()
        base = source if isinstance(source, str) else "private"
        alias, number = base, 1
        while alias in connections.databases:
            number += 1
            alias = f"{base}{number}"
        # Django fills in its defaults, but wants to see a default database as well.
        filled = connections.configure_settings({DEFAULT_DB_ALIAS: {}, alias: config})
        connections.databases[alias] = filled[alias]
        self.open.add(alias)
        try:
            yield alias
        finally:
            connections[alias].close()
            del connections[alias]
            del connections.databases[alias]
            self.open.remove(alias)


def database_url(alias: str) -> str:
    """The DATABASE_URL with which another process finds this database."""
    config = connections.databases[alias]
    vendor = config["ENGINE"].rpartition(".")[2]
    if vendor == "sqlite3":
        return f"sqlite:///{quote(str(config['NAME']))}"
    user, password = quote(config["USER"], ""), quote(config["PASSWORD"], "")
    query = urlencode(config["OPTIONS"])
    return (
        f"{SCHEMES[vendor]}://{user}:{password}@{config['HOST']}:{config['PORT']}/"
        f"{config['NAME']}{'?' if query else ''}{query}"
    )


@contextlib.contextmanager
def others_refused(aliases: set[str]) -> Iterator[None]:
    """Let a query fail that goes to another database than these, by mistake."""
    with contextlib.ExitStack() as stack:
        for other in set(connections.databases) - aliases:
            stack.enter_context(connections[other].execute_wrapper(_refuse))
        yield


def _refuse(
    execute: Callable, sql: str, params: Any, many: bool, context: dict
) -> None:
    alias = context["connection"].alias
    raise AssertionError(
        f"The test has a database of its own, but {alias!r} was asked for: {sql!r}. "
        "Pass using=, or mark the test with django_db if it needs both."
    )


@contextlib.contextmanager
def _never_committed(alias: str) -> Iterator[None]:
    atomic = transaction.atomic(using=alias)
    # As Django's TestCase does: atomic(durable=True) may be inside of this one.
    atomic._from_testcase = True  # type: ignore[attr-defined]
    with atomic:
        try:
            yield
        finally:
            transaction.set_rollback(True, using=alias)
