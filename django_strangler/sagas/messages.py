"""Commands, replies and timeouts: events of the outbox with headers of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from django_strangler import conf
from django_strangler.events import JSON, Event
from django_strangler.outbox.publishing import publish_event
from django_strangler.outbox.rules import OwnHeaders

from .exceptions import InvalidSaga
from .rules import StepOutcome

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
    source: str = ""  # Of the project whose saga it is.
    seal: str = ""  # That project's: only a participant that was asked can show it.

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
                source=str(headers.get("strangler-saga-source", "")),
                seal=str(headers.get("strangler-saga-seal", "")),
            )
        except (KeyError, ValueError) as error:
            raise InvalidSaga(
                f"The event {event.id} of type {event.type!r} is not a message of a "
                f"saga: its header {error} is missing or wrong."
            ) from error

    def sealed(self, type: str) -> Address:
        """The address with a seal, which lets one message of this type come back."""
        seal = self._seal(type, settings.SECRET_KEY)
        return replace(self, source=conf.current().source, seal=seal)

    def is_sealed(self, type: str) -> bool:
        """Whether a message of this type was allowed by this project."""
        keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return any(
            constant_time_compare(self.seal, self._seal(type, key)) for key in keys
        )

    def _seal(self, type: str, key: str | bytes) -> str:
        text = f"{type} {self.saga} {self.turn} {self.attempt} {self.step}"
        mac = salted_hmac("django_strangler.sagas", text, key, algorithm="sha256")
        return mac.hexdigest()[:32]

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
                **({"strangler-saga-source": self.source} if self.source else {}),
                **({"strangler-saga-seal": self.seal} if self.seal else {}),
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
    outcome: StepOutcome,
    *,
    using: str,
    data: JSON = None,
    reason: str = "",
) -> None:
    """What a participant says."""
    payload = {"outcome": outcome.value, "data": data or {}, "reason": reason}
    send(REPLY, payload, address, using=using)
