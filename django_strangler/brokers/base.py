"""
The seams between the outbox, the inbox and what carries events between them.

A broker is handed events and reports outcomes, in any order; an outcome may never come.
What every broker promises is written down as tests in ``tests/brokers/contract.py``.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from django_strangler.conf import Settings
from django_strangler.events import Header
from django_strangler.findings import Finding


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


class Cause(enum.Enum):
    """Why it is UNKNOWN what became of an event."""

    LOST = "lost"  # A connection, a channel, the moment: nobody's fault.
    NACKED = "nacked"  # A queue refuses this type: it is full, or has no majority.
    OVERDUE = "overdue"  # A queue does not confirm this type.
    FORBIDDEN = "forbidden"  # The broker's user may not send this type.
    NODE_FAULT = "node fault"  # The broker fails over this event, perhaps not for long.

    @property
    def holds_type(self) -> bool:
        """Whether others of its type would fare no better, for now."""
        return self is not Cause.LOST


class Outcome(NamedTuple):
    """What a broker reports of one event."""

    row: int
    kind: Kind
    reason: str = ""  # For people.
    final: bool = False  # With REJECTED: trying again cannot help.
    cause: Cause = Cause.LOST  # With UNKNOWN.
    after: float = 0.0  # With REJECTED: not before so many seconds; 0: no wish.


class Connected(ABC):
    """One end of a broker: it connects, mends itself, and says how it is."""

    system: ClassVar[str] = "custom"  # What spans call it.

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        self.urls = tuple(urls)
        self.settings = settings

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether events can be sent, or deliveries come, now."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """Why it is not ready, for people; empty when all is well."""

    @property
    def is_blocked(self) -> bool:
        """Whether it is connected, and takes nothing now."""
        return False


class Broker(Connected):
    """
    Carries events. Driven by one thread, the relay's, which it never keeps waiting.

    A broker that is unreachable, blocked or full says so by ``ready`` and ``trouble``
    and mends itself; the relay waits for it without limit.
    """

    # Whether what is returned today may be wanted by a queue in a moment.
    queues_may_come: ClassVar[bool] = True
    for_development: ClassVar[bool] = False  # `check --deploy` warns of it.
    # Where events can be consumed from, if that is for another process to do.
    source: ClassVar[type[Source] | None] = None
    dead_letters: ClassVar[type[DeadLetterQueue] | None] = None

    @classmethod
    def destination(cls, settings: Settings) -> str:
        """Where events go, as a relay says when it starts; nothing secret."""
        return ", ".join(map(shown_url, settings.broker_url))

    @classmethod
    def unroutable_hint(cls) -> str:
        """What to do about events that are returned."""
        return (
            "No queue is bound for this type. Bind one, then run: "
            "manage.py replay_events --unroutable"
        )

    @classmethod
    def inspect(
        cls, settings: Settings, types: Collection[str], management: str = ""
    ) -> Iterable[Finding]:
        """Look from outside, carrying nothing: how is it, and who takes these types?"""
        return ()

    @classmethod
    def bindings(
        cls, settings: Settings, management: str = ""
    ) -> Collection[tuple[str, str]]:
        """Queues and the patterns that they are bound for now; or ``BrokerError``."""
        return ()

    @abstractmethod
    def open(self) -> None:
        """Begin to connect, and keep connected. Neither waits nor raises."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, within a second. Outcomes not yet taken are lost."""

    @abstractmethod
    def send(self, events: Sequence[Outgoing], *, probe: bool = False) -> None:
        """
        Take these events over, in this order; never waits for the network.

        A ``probe`` tries whether a type that was not taken is taken again: it goes
        where nothing that is well could come to harm by it.

        Each event gets one outcome at most. When the connection is lost, those without
        one are reported UNKNOWN; so is at once what is sent while it is not ready.
        """

    @abstractmethod
    def outcomes(self, timeout: float) -> list[Outcome]:
        """
        Take what has been reported; with nothing there, wait for it up to ``timeout``.

        Returns early when ``ready`` changes.
        """


class Delivery(NamedTuple):
    """One hand-over of a message, as it came: nobody has checked what is in it."""

    session: int  # Which connection it came over, and
    tag: int  # which delivery it was there.
    routing_key: str
    id: Any
    type: Any
    correlation_id: Any
    timestamp: Any
    headers: Mapping[Any, Any]
    body: bytes
    properties: Any  # The broker's own, for copies.
    server: tuple[str, int] | None = None  # Who handed it over: host and port.
    is_copy: bool = False  # Put there by a consumer or an operator: to be tried again.
    user: Any = None  # Who published it, if the broker vouches for that,
    app: Any = None  # and what the publisher calls itself.


# Headers of copies: with which routing key the message was published, and by whom, if
# the broker vouched for that.
FROM_KEY, FROM_USER = "strangler-from-key", "strangler-from-user"

PREFETCH = 50
RETRY_DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0)  # Seconds.


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkQueue:
    """A queue to consume from, and how; beside it queues to wait in, and to rest in."""

    name: str
    patterns: tuple[str, ...]  # What it is to be bound for.
    unbind: tuple[str, ...] = ()
    prefetch: int = PREFETCH  # Deliveries taken and not yet acknowledged.
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    declare: bool = True  # False: only look whether all is there.
    single_active: bool = False  # One consumer at a time, for order.


class Source(Connected):
    """
    Hands over deliveries, and keeps each until it is told what became of it.

    What it was not told about comes again: after a lost connection, or to another
    process. It mends itself; ``trouble`` says what is wrong meanwhile. There is one for
    RabbitMQ only, and no contract suite that others would have to pass.
    """

    def __init__(
        self, urls: Sequence[str], settings: Settings, queue: WorkQueue
    ) -> None:
        super().__init__(urls, settings)
        self.queue = queue

    @abstractmethod
    def open(self, deliver: Callable[[Delivery], None]) -> None:
        """Begin to connect and to deliver, on a thread of its own."""

    @abstractmethod
    def pause(self) -> None:
        """Deliver nothing new; what was delivered can still be settled."""

    @abstractmethod
    def close(self, timeout: float) -> None:
        """Pass on what was settled, and let go of the rest, which comes again."""

    @property
    @abstractmethod
    def refusal(self) -> str:
        """Why none ever can, unless an operator acts; empty once ready."""

    @abstractmethod
    def is_current(self, delivery: Delivery) -> bool:
        """Whether it can still be settled; otherwise it comes again, or has."""

    @abstractmethod
    def done(self, delivery: Delivery) -> None:
        """It was handled. From any thread, as the next."""

    @abstractmethod
    def move(
        self, delivery: Delivery, delay: float | None, notes: Mapping[str, Header]
    ) -> None:
        """
        Let it come again after that delay, or rest as a dead letter (None).

        The copy is confirmed before the delivery is; the notes go into its headers.
        """


class DeadLetterQueue(ABC):
    """
    What was given up on. Driven by one thread; raises ``BrokerError``.

    As with ``Source``, there is one for RabbitMQ only.
    """

    def __init__(self, urls: Sequence[str], settings: Settings, name: str) -> None:
        self.urls = tuple(urls)
        self.settings = settings
        self.name = name  # The work queue's.

    @classmethod
    def counts(
        cls, urls: Sequence[str], settings: Settings, names: Sequence[str]
    ) -> dict[str, int]:
        """How many there are now, by the names of the work queues."""
        found = {}
        for name in names:
            with closing(cls(urls, settings, name)) as queue:
                found[name] = sum(1 for _ in queue.read())
        return found

    @abstractmethod
    def read(self) -> Iterator[Delivery]:
        """Each that is there now. All stay, but those that are settled meanwhile."""

    @abstractmethod
    def requeue(self, delivery: Delivery) -> None:
        """Into the work queue, as if it had never been tried."""

    @abstractmethod
    def discard(self, delivery: Delivery) -> None:
        """Delete it for good."""

    @abstractmethod
    def close(self) -> None:
        """Give back what was not settled."""


def shown_url(url: str) -> str:
    """A broker's URL as logs may show it: without password and options."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a URL that cannot be parsed)"
    if has_stray_at(url):
        # What stands before it may be a part of the password.
        return "(a URL whose password has characters that are not percent-encoded)"
    if ":" in host:
        host = f"[{host}]"
    user = f"{parts.username}@" if parts.username else ""
    # Not by urlunsplit(), which leaves out the slashes of local://.
    return f"{parts.scheme}://{user}{host}{port}{parts.path}"


def has_stray_at(url: str) -> bool:
    """Whether an @ stands behind the host: a password broke the URL apart."""
    return "@" in url.partition("://")[2].removeprefix(urlsplit(url).netloc)
