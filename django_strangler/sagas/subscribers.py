"""What moves sagas: replies and timeouts, each in the transaction of its inbox row."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django_strangler.events import Event
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.subscribers import subscribe

from . import moving, rules
from .definitions import registry
from .exceptions import InvalidSaga, UnknownSaga
from .messages import REPLY, TIMEOUT, Address
from .models import SagaRun
from .rules import Outcome
from .starting import check_data

logger = logging.getLogger("django_strangler.sagas")

REPLIES, TIMEOUTS = "strangler-sagas-replies", "strangler-sagas-timeouts"
ANNOUNCEMENTS = "strangler-sagas-announcements"

registry.discover()  # The participants of all apps subscribe as well.


@subscribe(REPLY, name=REPLIES)
def reply(event: Event) -> None:
    """A participant has answered."""
    address, payload = Address.of(event), event.payload
    try:
        assert isinstance(payload, dict)
        outcome = Outcome(payload["outcome"])
        data = payload.get("data") or {}
    except (AssertionError, KeyError, ValueError) as error:
        raise InvalidSaga(
            f"The reply {event.id} has no outcome that is known: {payload!r:.200}."
        ) from error
    reason = str(payload.get("reason", ""))

    def decide(run: SagaRun) -> rules.Move | None:
        steps = registry.get(run.name, run.version).steps
        move = rules.replied(steps, run.place, address.turn, outcome, reason)
        if move is not None:
            moving.record(run, run.place, outcome.value, reason)
            if outcome is Outcome.DONE:
                run.data = {**run.data, **data}
                check_data(run.data)
        return move

    _move(address, "reply", decide)


@subscribe(TIMEOUT, name=TIMEOUTS)
def timeout(event: Event) -> None:
    """A command was to be answered by now; if it was, nothing happens."""
    address = Address.of(event)

    def decide(run: SagaRun) -> rules.Move | None:
        steps = registry.get(run.name, run.version).steps
        before = run.place
        move = rules.timed_out(steps, before, address.turn, address.attempt)
        if move is not None and move.place.turn != before.turn:
            moving.record(run, before, "unknown", move.reason)
        return move

    _move(address, "timeout", decide)


@subscribe(*moving.ENDS.values(), name=ANNOUNCEMENTS)
def announced(event: Event) -> None:
    """For others; where nobody else listens, it would have no queue and be parked."""


def _move(
    address: Address, kind: str, decide: Callable[[SagaRun], rules.Move | None]
) -> None:
    rows: Any = SagaRun.objects.using(inbox_alias()).select_for_update()
    run = rows.filter(saga_id=address.saga).first()
    if run is None:
        raise UnknownSaga(
            f"A {kind} came for the saga {address.saga}, which is not in the database "
            f"{inbox_alias()!r}. It was pruned, or is another project's."
        )
    move = decide(run)
    if move is None:
        moving.ignored.add(run.name, kind)
        logger.debug("A %s for turn %s of %s came too late.", kind, address.turn, run)
        return
    moving.make(run, move)
