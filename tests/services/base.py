"""The words of this folder: a kind of service, a service, why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from .instances import Instance


class Unavailable(Exception):
    """A service cannot be had; the text says what was tried."""


class Service:
    """A server that answers."""

    def __init__(self, *, url: str, origin: str, control: Sequence[str] = ()) -> None:
        self.url = url
        self.origin = origin  # Where it comes from, for people to read.
        self.control = control  # What to put before its own commands, in a container.

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None, f"{self.url} has no port"
        return port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port} ({self.origin})>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    name: str  # As people write it: "PostgreSQL".
    key: str  # Of the fixture, the alias and the Compose service: "postgresql".
    variable: str  # The environment variable that may hold a URL.
    port: int  # The standard one.
    usual_urls: tuple[str, ...]  # Who may log in on the standard port, as a rule.
    package: str  # Debian's.
    check: Callable[[str], None]  # Raises Unavailable unless the URL lets us in.
    shared: type[Service]
    private: type[Instance]
