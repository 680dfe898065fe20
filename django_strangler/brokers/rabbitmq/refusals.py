"""What the log says of types that are not taken: once, and once that they are again."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django_strangler.announcing import Announcer
from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing

from .explain import logger

_WAIT = "Events of this type wait in the outbox, others go on."
_TEXTS = {
    Cause.NACKED: (
        "RabbitMQ: a queue refuses events of type %r (basic.nack): it is full, or has "
        "no majority. Let its consumers catch up, or raise its max-length. %s"
    ),
    Cause.OVERDUE: (
        "RabbitMQ: a queue does not confirm events of type %r: it has no majority, or "
        "hangs. Bring the nodes of the queue back. %s"
    ),
    Cause.FORBIDDEN: (
        "RabbitMQ: events of type %r may not be sent. Give the user write permission "
        "for this routing key. %s RabbitMQ says: %s"
    ),
    Cause.NODE_FAULT: (
        "RabbitMQ fails over an event of type %r; look into the node's log. %s "
        "RabbitMQ says: %s"
    ),
}


class Refusals:
    """The types that are in trouble, for the log only: the relay holds them."""

    def __init__(self, *, calm: float) -> None:
        self._calm = calm  # Without a nack for so long, a queue has room again.
        self._announcer = Announcer(logger)
        self._last: dict[str, tuple[float, Cause]] = {}  # By type.

    def __bool__(self) -> bool:
        return bool(self._last)

    def note(self, type: str, outcome: Outcome) -> None:
        """An event of this type was not taken."""
        self._last[type] = time.monotonic(), outcome.cause
        text = _TEXTS[outcome.cause]
        said = (outcome.reason,) if text.count("%s") == 2 else ()
        self._announcer.once(type, text, type, _WAIT, *said)

    def settle(self, events: Sequence[Outgoing], outcomes: Sequence[Outcome]) -> None:
        """These have their outcomes: of what was confirmed, the trouble is over."""
        now = time.monotonic()
        for event, outcome in zip(events, outcomes, strict=True):
            if event.type in self._last and outcome.kind is Kind.CONFIRMED:
                last, cause = self._last[event.type]
                # A queue that is full takes one now and then: that is not over yet.
                if cause is not Cause.NACKED or now >= last + self._calm:
                    del self._last[event.type]
                    text = "RabbitMQ: events of type %r are taken again."
                    self._announcer.over(event.type, text, event.type)
