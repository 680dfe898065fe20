"""A virtual host for each test, with nothing in it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pika

from .base import Unavailable
from .leftovers import mark, orphaned
from .rabbitmq import RabbitMQ, check

BATCH = 24  # rabbitmqctl takes a second, one vhost a few milliseconds.


@dataclass(frozen=True, slots=True)
class Vhost:
    """
    A test's place on RabbitMQ.

    It is empty, unless nobody can make one there (no rabbitmqctl reaches the server).
    Then it is the vhost that all share, so a test gets its names from `own()`.
    """

    url: str
    prefix: str = ""  # Empty for a vhost of its own.
    names: list[str] = field(default_factory=list)

    def own(self, name: str) -> str:
        """The name to use for an exchange or a queue; deleted in the end."""
        self.names.append(self.prefix + name)
        return self.prefix + name


class Vhosts:
    """Makes and deletes them, many at a time."""

    def __init__(self, service: RabbitMQ) -> None:
        self.service = service
        self.user = urlsplit(service.url).username or "guest"
        self._empty: list[str] = []
        self._used: list[str] = []
        self._made = 0
        self._possible: bool | None = None

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Vhost]:
        if not self.possible:
            with self._shared() as vhost:
                yield vhost
            return
        if not self._empty:
            self._refill()
        name = self._empty.pop()
        try:
            yield Vhost(self._url(name))
        finally:
            # Deleted with the next batch, or with the server.
            self._used.append(name)

    def close(self) -> None:
        """Delete the rest, on a server that goes on."""
        if self._used or self._empty:
            self._evaluate(delete=self._used + self._empty, add=[])

    @property
    def possible(self) -> bool:
        if self._possible is None:
            self._possible = self._try()
        return self._possible

    def _try(self) -> bool:
        if not self.service.has_ctl:
            return False
        # A node takes connections before it has started whole, and answers nothing.
        self.service.ctl("await_startup")
        listed = self.service.ctl("list_vhosts", "--no-table-headers").split()
        self._used += filter(orphaned, listed)
        self._refill()
        try:
            check(self._url(self._empty[-1]))
        except Unavailable:
            # That rabbitmqctl manages another server than this one.
            self._evaluate(delete=self._empty, add=[])
            return False
        return True

    def _refill(self) -> None:
        names = []
        for _ in range(BATCH):
            self._made += 1
            names.append(f"{mark()}_{self._made}")
        self._evaluate(delete=self._used, add=names)
        self._empty, self._used = names, []

    def _evaluate(self, *, delete: list[str], add: list[str]) -> None:
        self.service.evaluate(
            f'[rabbit_vhost:delete(V, <<"tests">>) || V <- {_binaries(delete)}, '
            "rabbit_vhost:exists(V)], "
            '[begin rabbit_vhost:add(V, <<"tests">>), '
            f"rabbit_auth_backend_internal:set_permissions({_binary(self.user)}, V, "
            '<<".*">>, <<".*">>, <<".*">>, <<"tests">>) end '
            f"|| V <- {_binaries(add)}]"
        )

    def _url(self, name: str) -> str:
        return urlsplit(self.service.url)._replace(path=f"/{name}").geturl()

    @contextlib.contextmanager
    def _shared(self) -> Iterator[Vhost]:
        vhost = Vhost(self.service.url, prefix=f"{mark()}_{secrets.token_hex(3)}.")
        try:
            yield vhost
        finally:
            if vhost.names:
                _delete(vhost)


def _delete(vhost: Vhost) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    channel = connection.channel()
    for name in vhost.names:
        # Neither minds if there is no such thing.
        channel.queue_delete(name)
        channel.exchange_delete(name)
    connection.close()


def _binary(name: str) -> str:
    return f'<<"{name}">>'


def _binaries(names: list[str]) -> str:
    return f"[{', '.join(map(_binary, names))}]"
