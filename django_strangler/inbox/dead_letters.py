"""What became of deliveries that were given up on, and what to do about them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from django_strangler.brokers.base import DeadLetterQueue, Delivery

from .decoding import Refused, read
from .failures import Record

# What differs between two errors of one kind: ids, amounts, addresses in memory.
_VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One delivery that was given up on."""

    name: str  # Its message id, or the digest of a body without one.
    type: str
    reason: str
    error: str
    times: int
    first: datetime | None
    last: datetime | None
    published_at: datetime | None
    delivery: Delivery

    @property
    def kind_of_error(self) -> str:
        """The error, without what differs from event to event."""
        return _VARYING.sub("…", self.error.partition("\n")[0])[:120]

    @property
    def fingerprint(self) -> bytes:
        """
        This letter and no other.

        The publisher chooses the id: several letters can have the same.
        """
        found = hashlib.sha256(self.delivery.body)
        for part in (self.name, self.type, self.reason, self.error):
            found.update(b"\0" + part.encode(errors="replace"))
        return found.digest()

    def is_forgotten(self, inbox_retention: float) -> bool:
        """Whether the inbox may no longer know who has handled it."""
        known = [each for each in (self.published_at, self.first) if each]
        if not known:
            return False
        age = datetime.now(timezone.utc) - min(known)
        return age > timedelta(seconds=inbox_retention)


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSelection:
    """Which dead letters are meant; everything that is given must be true of one."""

    names: frozenset[str] = frozenset()
    type: str = ""
    error: str = ""  # Part of the error or the reason.

    def matches(self, letter: DeadLetter) -> bool:
        """Whether this one is meant."""
        return (
            (not self.names or letter.name in self.names)
            and (not self.type or letter.type == self.type)
            and (not self.error or self.error in f"{letter.reason}: {letter.error}")
        )


def letters(queue: DeadLetterQueue, selection: LetterSelection) -> Iterator[DeadLetter]:
    """Those that are in the queue now and are meant."""
    for delivery in queue.read():
        letter = describe(delivery)
        if selection.matches(letter):
            yield letter


def settle(
    queue: DeadLetterQueue,
    shown: Collection[bytes],
    act: Callable[[Delivery], None],
) -> Iterator[DeadLetter]:
    """Requeue or discard those whose fingerprints were shown, and no others."""
    for letter in letters(queue, LetterSelection()):
        if letter.fingerprint in shown:
            act(letter.delivery)
            yield letter


def describe(delivery: Delivery) -> DeadLetter:
    """What is known of it, however broken it is."""
    record = Record.read(delivery.headers)
    reason, error = record.reason, record.error
    if not reason:
        reason, error = _told_by_broker(delivery.headers)
    name = delivery.id if isinstance(delivery.id, str) and delivery.id else ""
    try:
        published_at = read(delivery, max_bytes=len(delivery.body)).published_at
    except Refused:
        published_at = None
    return DeadLetter(
        name=name or f"body-{hashlib.sha256(delivery.body).hexdigest()[:16]}",
        type=delivery.type if isinstance(delivery.type, str) else "(no type)",
        reason=reason,
        error=error,
        times=record.times,
        first=record.first,
        last=record.last,
        published_at=published_at,
        delivery=delivery,
    )


def _told_by_broker(headers: Any) -> tuple[str, str]:
    """Dead-lettered by RabbitMQ: rejected, or handed over in vain too often."""
    deaths = headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths else {}
    reason = death.get("reason") if isinstance(death, dict) else None
    if reason == "delivery_limit":
        return "crashes", "each consumer that took it ended before it was done"
    return (str(reason) if reason else "unknown"), "given up by another program"
