"""What moves sagas: replies and timeouts, each in the transaction of its inbox row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from django_strangler import conf
from django_strangler.events import Event
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.subscribers import subscribe
from django_strangler.inbox.trust import is_among

from . import moving, rules
from .definitions import registry
from .exceptions import Forged, InvalidSaga, UnknownSaga
from .messages import REPLY, TIMEOUT, Address
from .models import SagaRun
from .rules import StepOutcome
from .starting import check_data

logger = logging.getLogger("django_strangler.sagas")

REPLIES, TIMEOUTS = "strangler-sagas-replies", "strangler-sagas-timeouts"
ANNOUNCEMENTS = "strangler-sagas-announcements"

registry.discover()  # The participants of all apps subscribe as well.


@subscribe(REPLY, name=REPLIES, final_errors=[InvalidSaga])
def reply(event: Event) -> None:
    """A participant has answered."""
    address, payload = Address.of(event), event.payload
    try:
        assert isinstance(payload, dict)
        outcome = StepOutcome(payload["outcome"])
        data = payload.get("data") or {}
    except (AssertionError, KeyError, ValueError) as error:
        raise InvalidSaga(
            f"The reply {event.id} has no outcome that is known: {payload!r:.200}."
        ) from error
    reason = str(payload.get("reason", ""))

    def decide(run: SagaRun) -> rules.Move | None:
        steps = registry.get(run.name, run.version).steps
        _check_replier(run, steps, address, event)
        move = rules.replied(steps, run.place, address.turn, outcome, reason)
        if move is not None:
            moving.record(run, run.place, outcome.value, reason)
            if outcome is StepOutcome.DONE:
                run.data = {**run.data, **data}
                check_data(run.data)
        return move

    _move(address, REPLY, decide)


@subscribe(TIMEOUT, name=TIMEOUTS, final_errors=[InvalidSaga])
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

    _move(address, TIMEOUT, decide)


@subscribe(*moving.ENDS.values(), name=ANNOUNCEMENTS)
def announced(event: Event) -> None:
    """For others; where nobody else listens, it would have no queue and be parked."""


def _move(
    address: Address, type: str, decide: Callable[[SagaRun], rules.Move | None]
) -> None:
    kind = type.rpartition(".")[2]
    rows: Any = SagaRun.objects.using(inbox_alias()).select_for_update()
    run = rows.filter(saga_id=address.saga).first()
    if run is None:
        _check_other(address, kind)
        return
    if not address.is_sealed(type):
        moving.forged.add(run.name, kind)
        raise Forged(
            f"A {kind} for {run} does not bring back the seal that this project gave "
            f"to turn {address.turn}, step {address.step!r}. Either it is forged, or "
            "the participant leaves out the header strangler-saga-seal, or SECRET_KEY "
            "has changed: then put the old one into SECRET_KEY_FALLBACKS and requeue "
            "the dead letter."
        )
    move = decide(run)
    if move is None:
        moving.ignored.add(run.name, kind)
        logger.debug("A %s for turn %s of %s came too late.", kind, address.turn, run)
        return
    moving.make(run, move)


def _check_other(address: Address, kind: str) -> None:
    """Leave another project's saga alone, whose messages the same exchange brings."""
    if address.source not in ("", conf.current().source):
        moving.ignored.add("of another project", kind)
        return
    raise UnknownSaga(
        f"A {kind} came for the saga {address.saga}, which is not in the database "
        f"{inbox_alias()!r}. It was pruned, or belongs to a project that has the same "
        "SOURCE: give each project its own."
    )


def _check_replier(
    run: SagaRun, steps: Sequence[rules.Step], address: Address, event: Event
) -> None:
    """Take the word of those whom the step trusts; what is read at home, is ours."""
    step = next((each for each in steps if each.name == address.step), None)
    trusted = step.trusted if step else ()
    source = event.source
    if not trusted or source is None:
        return
    if not is_among(source, (*trusted, conf.current().source)):
        moving.forged.add(run.name, "reply")
        raise Forged(
            f"A reply for {run}, step {address.step!r}, was published by "
            f"{source.name!r:.100}{'' if source.vouched else ', as it says itself'}. "
            f"The step trusts {', '.join(trusted)}."
        )
