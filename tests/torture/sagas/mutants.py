"""
Rules of sagas broken on purpose: a torture that does not find these finds nothing.

    python -m tests.torture --sagas --mutant no-barrier --count 200

Each is patched into all processes as they begin; no source is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    what: str
    apply: Callable[[], None]


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(apply: Callable[[], None]) -> Callable[[], None]:
        MUTANTS[name] = Mutant(what=apply.__doc__ or "", apply=apply)
        return apply

    return register


@mutant("no-barrier")
def no_barrier() -> None:
    """An undo is done whether or not there was anything to undo."""
    from django_strangler.sagas import participants, rules

    def act(direction: Any, *, known: Any, was_done: Any, must: bool) -> Any:
        return rules.Act.CALL if known is None else rules.Act.ANSWER

    participants.act = act


@mutant("any-turn")
def any_turn() -> None:
    """A reply counts whichever question it answers."""
    from django_strangler.sagas import rules

    replied = rules.replied

    def reply(steps: Any, place: Any, turn: int, outcome: Any, reason: str = "") -> Any:
        return replied(steps, place, place.turn, outcome, reason)

    rules.replied = reply


@mutant("op-of-each-try")
def op_of_each_try() -> None:
    """A retry is another operation, so a participant does it again."""
    from uuid import uuid5

    from django_strangler.sagas.messages import Address

    Address.op = property(  # type: ignore[assignment,method-assign]
        lambda self: uuid5(self.saga, f"{self.step} {self.attempt}")
    )
