"""
The seam between the outbox and whatever carries its events.

A broker is handed events and reports outcomes, in any order; an outcome may never come.
What every broker promises is written down as tests in ``tests/brokers/contract.py``.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from django_strangler.conf import Settings
from django_strangler.events import Header


class Outgoing(NamedTuple):
    """A committed event on its way out, as the row holds it."""

    row: int  # The outbox id: the order of publishing, and what an outcome names.
    id: str  # The event's id.
    type: str
    key: str
    body: str  # Sent byte for byte as it was committed.
    size: int
    headers: Mapping[str, Header]  # The caller's, the flags' and the trace context.
    correlation_id: str
    published_at: datetime  # Aware.
    attempts: int  # Refusals so far.
    lane: int = 0
    order_key: str = (
        ""  # The key, but for a delayed event: it stands outside the order.
    )


class Kind(enum.Enum):
    """What became of an event that was sent."""

    CONFIRMED = "confirmed"  # The broker has it, in a queue at least.
    RETURNED = "returned"  # The broker is well, and no queue wants the event.
    REJECTED = "rejected"  # This very event was refused; a neighbour would pass.
    UNKNOWN = "unknown"  # Perhaps, perhaps not; and it is not the event's fault.


class Outcome(NamedTuple):
    """What a broker reports of one event."""

    row: int
    kind: Kind
    reason: str = ""
    final: bool = False  # With REJECTED: trying again cannot help.
    pause: float = 0.0  # With UNKNOWN: trying again within these seconds is in vain.


class Broker(ABC):
    """
    Carries events. Driven by one thread, the relay's, which it never keeps waiting.

    A broker that is unreachable, blocked or full says so by ``ready`` and ``trouble``
    and mends itself; the relay waits for it without limit.
    """

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        self.urls = tuple(urls)
        self.settings = settings

    @abstractmethod
    def open(self) -> None:
        """Begin to connect, and keep connected. Neither waits nor raises."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, within a second. Outcomes not yet taken are lost."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether events may be sent now."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """Why it is not ready, for people; empty when all is well."""

    @abstractmethod
    def send(self, events: Sequence[Outgoing]) -> None:
        """
        Take these events over, in this order; never waits for the network.

        Each gets one outcome at most. When the connection is lost, those without one
        are reported UNKNOWN; so is at once what is sent while it is not ready.
        """

    @abstractmethod
    def outcomes(self, timeout: float) -> list[Outcome]:
        """
        Take what has been reported; with nothing there, wait for it up to ``timeout``.

        Returns early when ``ready`` changes.
        """


def shown_url(url: str) -> str:
    """A broker's URL as logs may show it: without password and options."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a URL that cannot be parsed)"
    if ":" in host:
        host = f"[{host}]"
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, f"{user}{host}{port}", parts.path, "", ""))
