"""Commands, replies and timeouts: events of the outbox with headers of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from django_strangler.events import JSON, Event
from django_strangler.outbox.publishing import publish_event
from django_strangler.outbox.rules import OwnHeaders

from .exceptions import InvalidSaga
from .rules import Outcome

REPLY = "saga.reply"
TIMEOUT = "saga.timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Which question of which saga a message belongs to."""

    saga: UUID
    turn: int
    attempt: int
    step: str
    must: bool = False  # Of a command: the saga cannot go another way.

    @property
    def op(self) -> UUID:
        """The same for each try of a step, and for its undo."""
        return uuid5(self.saga, self.step)

    @classmethod
    def of(cls, event: Event) -> Address:
        """Read the headers, which come from outside."""
        headers: Mapping[str, Any] = event.headers
        try:
            return cls(
                saga=UUID(str(headers["strangler-saga"])),
                turn=int(headers["strangler-saga-turn"]),
                attempt=int(headers["strangler-saga-attempt"]),
                step=str(headers["strangler-saga-step"]),
                must=headers.get("strangler-saga-must") is True,
            )
        except (KeyError, ValueError) as error:
            raise InvalidSaga(
                f"The event {event.id} of type {event.type!r} is no message of a saga: "
                f"its header {error} is missing or wrong."
            ) from error

    def headers(self) -> OwnHeaders:
        """What each message says of itself; a service sends them back as they are."""
        return OwnHeaders(
            {
                "strangler-saga": str(self.saga),
                "strangler-saga-turn": self.turn,
                "strangler-saga-attempt": self.attempt,
                "strangler-saga-step": self.step,
                "strangler-saga-op": str(self.op),
                **({"strangler-saga-must": True} if self.must else {}),
            }
        )


def send(
    type: str, payload: JSON, address: Address, *, using: str, pause: float = 0.0
) -> Event:
    """One message; those of a saga keep their order, unless they are to wait."""
    return publish_event(
        type,
        payload,
        key=str(address.saga),
        headers=address.headers(),
        delay=pause or None,
        using=using,
    )


def answer(
    address: Address,
    outcome: Outcome,
    *,
    using: str,
    data: JSON = None,
    reason: str = "",
) -> None:
    """What a participant says."""
    payload = {"outcome": outcome.value, "data": data or {}, "reason": reason}
    send(REPLY, payload, address, using=using)
