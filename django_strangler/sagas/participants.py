"""Participants: what a service does for a saga, and how it takes that back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from django_strangler.clock import DatabaseNow
from django_strangler.databases import claim_once
from django_strangler.events import JSON, Event
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.subscribers import subscribe

from .exceptions import InvalidSaga, Refused
from .messages import Address, answer
from .models import SagaAct
from .rules import Act, Direction, StepOutcome, act


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a participant is asked to do, and for which saga."""

    payload: Any  # The saga's data.
    saga_id: UUID
    step: str
    attempt: int
    op: UUID  # The same in each try, and in the undo: a key for calls to others.


Handler = Callable[[Command], "dict[str, JSON] | None"]


class Participant:
    """A function that does a step; its ``undo`` decorates the one that undoes it."""

    def __init__(
        self, do: Handler, command: str, undo_command: str | None, name: str
    ) -> None:
        self._do = do
        self._undo: Callable[[Command], object] | None = None
        self.name = name
        self.command, self.undo_command = command, undo_command
        patterns = [each for each in (command, undo_command) if each]
        subscribe(*patterns, name=f"saga-{name}-{command}")(self)
        self.__module__, self.__qualname__ = do.__module__, do.__qualname__

    def undo(
        self, function: Callable[[Command], object]
    ) -> Callable[[Command], object]:
        """Decorate the function that undoes what was done, and only that."""
        if self.undo_command is None:
            raise InvalidSaga(
                f"The participant {self.name!r} has a function that undoes and no "
                f'command for it. Write @participant({self.command!r}, undo="…").'
            )
        self._undo = function
        return function

    def __call__(self, event: Event) -> None:
        """Do it once, or answer as before; in the inbox's transaction."""
        address, alias = Address.of(event), inbox_alias()
        undoes = event.type == self.undo_command
        direction = Direction.UNDO if undoes else Direction.DO
        known: SagaAct | None = None
        was_done = None
        if not self._claim(alias, address, direction):
            known = self._row(alias, address, direction)
        elif undoes and not self._claim(alias, address, Direction.DO, "null"):
            was_done = StepOutcome(self._row(alias, address, Direction.DO).outcome)
        what = act(
            direction,
            known=None if known is None else StepOutcome(known.outcome),
            was_done=was_done,
            must=address.must,
        )
        if what is Act.ANSWER and known is not None:
            outcome, data = StepOutcome(known.outcome), known.body or {}
        elif what is Act.NULL:
            outcome, data = StepOutcome.NULL, {}
        else:
            outcome, data = self._call(alias, address, event, direction)
        if what is not Act.ANSWER:
            rows = SagaAct.objects.using(alias).filter(op=address.op)
            rows = rows.filter(participant=self.name, direction=direction.value)
            rows.update(outcome=outcome.value, body=data)
        if direction is Direction.DO and outcome is StepOutcome.NULL:
            outcome, data = StepOutcome.REFUSED, {"reason": "It is undone already."}
        reason = str(data.get("reason", "")) if outcome is StepOutcome.REFUSED else ""
        answer(address, outcome, using=alias, data=data, reason=reason)

    def _call(
        self, alias: str, address: Address, event: Event, direction: Direction
    ) -> tuple[StepOutcome, dict[str, Any]]:
        command = Command(
            payload=event.payload,
            saga_id=address.saga,
            step=address.step,
            attempt=address.attempt,
            op=address.op,
        )
        try:
            with transaction.atomic(using=alias):
                if direction is Direction.DO:
                    return StepOutcome.DONE, self._do(command) or {}
                if self._undo is None:
                    raise InvalidSaga(
                        f"The participant {self.name!r} is to undo {self.command!r}, "
                        "and has no function for that. Decorate one with its .undo."
                    )
                self._undo(command)
                return StepOutcome.UNDONE, {}
        except Refused as refusal:
            return StepOutcome.REFUSED, {"reason": str(refusal)}

    def _claim(
        self, alias: str, address: Address, direction: Direction, outcome: str = ""
    ) -> bool:
        return claim_once(
            connections[alias],
            SagaAct._meta.db_table,
            values={
                "op": address.op,
                "participant": self.name,
                "direction": direction.value,
                "outcome": outcome,
                "at": DatabaseNow(),
            },
            unique=("op", "participant", "direction"),
        )

    def _row(self, alias: str, address: Address, direction: Direction) -> SagaAct:
        rows: Any = SagaAct.objects.using(alias).select_for_update()
        found: SagaAct = rows.get(
            op=address.op, participant=self.name, direction=direction.value
        )
        return found


def participant(
    command: str, *, name: str, undo: str | None = None
) -> Callable[[Handler], Participant]:
    """
    Let a function do a step of sagas: once each, however often it is asked.

    It returns a dict that joins the saga's data, or None, or raises ``Refused``.
    """

    def register(function: Handler) -> Participant:
        return Participant(function, command, undo, name)

    return register
