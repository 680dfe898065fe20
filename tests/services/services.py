"""All services of one run of the tests, got on demand and once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from . import node, pgbouncer, promtool, sources
from .base import Kind, Service, Unavailable
from .instances import Instance, NotStarted
from .leftovers import Run
from .mariadb import MARIADB
from .postgresql import POSTGRESQL
from .rabbitmq import RABBITMQ

if TYPE_CHECKING:
    from .browser import Browser

KINDS = {kind.key: kind for kind in (POSTGRESQL, MARIADB, RABBITMQ)}

S = TypeVar("S", bound=Service)


class Services:
    def __init__(self, announce: Callable[[str], None] = print) -> None:
        self._announce = announce
        self._common = _Once(self._find)
        self._dedicated = _Once(self._find_dedicated)
        self._instances: list[Instance] = []
        self._composed: list[Kind] = []

    @cached_property
    def run(self) -> Run:
        return Run()

    def get(self, kind: Kind) -> Service:
        """The server that all tests share; up again, should it have died."""
        service = self._common.get(kind)
        if isinstance(service, Instance) and not service.running:
            self._announce(f"{service!r} has died. It goes on; its last words:")
            self._announce(service.log())
            service.start()
        return service

    def get_dedicated(self, kind: Kind) -> Instance:
        """The server for tests that stop, kill or pause it; it is up now."""
        instance = self._dedicated.get(kind)
        instance.start()
        return instance

    def start_private(self, kind: Kind, *arguments: str) -> Instance:
        """One more private server, with these arguments on its command line."""
        try:
            return self._start(kind, *arguments)
        except NotStarted:
            # Somebody may have taken the port after we had looked.
            return self._start(kind, *arguments)

    def node_service(self, name: str) -> Path:
        """A folder of Node.js code in the repository, its packages installed."""
        return node.prepare(self._announce, name)

    def start_pgbouncer(self, behind: Service) -> Instance:
        """A PgBouncer in front of this PostgreSQL."""
        bouncer = pgbouncer.start(self.run, behind.url, self._announce)
        self._instances.append(bouncer)
        return bouncer

    def promtool(self) -> str:
        """Where promtool is."""
        return promtool.find(self._announce)

    def browser(self) -> Browser:
        """A browser with a profile of its own."""
        from . import browser  # Here: Selenium is slow to import.

        return browser.start(self.run, self._announce)

    def found(self) -> dict[str, str]:
        """What was got, by name: where it comes from."""
        return {
            KINDS[key].name: service.origin
            for key, service in self._common.found.items()
        }

    def close(self) -> None:
        while self._instances:
            self._instances.pop().close()
        while self._composed:
            sources.compose_down(self._composed.pop())
        if "run" in vars(self):
            self.run.close()

    def _find(self, kind: Kind) -> Service:
        if service := sources.from_environment(kind):
            return service
        return _first(
            kind,
            self.start_private,
            sources.from_standard_port,
            self._compose,
            self._install,
            reason=f"{kind.variable} is not set",
        )

    def _find_dedicated(self, kind: Kind) -> Instance:
        return _first(
            kind, self.start_private, self._install, reason="a test wants to break it"
        )

    def _start(self, kind: Kind, *arguments: str) -> Instance:
        instance = kind.private(self.run, *arguments)
        self._instances.append(instance)
        try:
            instance.start()
        except NotStarted:
            instance.close()
            raise
        return instance

    def _compose(self, kind: Kind) -> Service:
        service = sources.from_compose(kind)
        self._composed.append(kind)
        return service

    def _install(self, kind: Kind) -> Instance:
        sources.install(kind, self._announce)
        return self.start_private(kind)


class NoServices(Services):
    """What the quick tests have: nothing is looked for, and nothing started."""

    def node_service(self, name: str) -> Path:
        raise Unavailable("--without-services forbids it")

    def promtool(self) -> str:
        raise Unavailable("--without-services forbids it")

    def start_pgbouncer(self, behind: Service) -> Instance:
        raise Unavailable("--without-services forbids it")

    def browser(self) -> Browser:
        raise Unavailable("--without-services forbids it")

    def _find(self, kind: Kind) -> Service:
        raise Unavailable("--without-services forbids it")

    def _find_dedicated(self, kind: Kind) -> Instance:
        raise Unavailable("--without-services forbids it")

    def start_private(self, kind: Kind, *arguments: str) -> Instance:
        raise Unavailable("--without-services forbids it")


class _Once(Generic[S]):
    """Looks for each kind at most once, whether it finds it or not."""

    def __init__(self, find: Callable[[Kind], S]) -> None:
        self.find = find
        self.found: dict[str, S] = {}
        self.reasons: dict[str, str] = {}

    def get(self, kind: Kind) -> S:
        if kind.key in self.reasons:
            raise Unavailable(self.reasons[kind.key])
        if kind.key not in self.found:
            try:
                self.found[kind.key] = self.find(kind)
            except Unavailable as error:
                self.reasons[kind.key] = str(error)
                raise
        return self.found[kind.key]


def _first(kind: Kind, *sources: Callable[[Kind], S], reason: str) -> S:
    """What the first source gives that gives anything."""
    reasons = [reason]
    for source in sources:
        try:
            return source(kind)
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable("; ".join(reasons))
