"""
The rules of a saga, as one pure function: where it is, what came, what is next.

Nothing here knows of rows or events, so that a test can walk through every order in
which messages can arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

SLOWEST = 3600.0  # The longest pause between two tries of a step after the pivot.


class State(Enum):
    """Where a saga is."""

    FORWARD = 1
    UNDOING = 2
    COMPLETED = 3
    UNDONE = 4
    STUCK = 5


class Kind(Enum):
    """What a step's failure means."""

    UNDOABLE = "undoable"  # Before the pivot.
    PIVOT = "pivot"  # Once it is done, there is no way back.
    RETRIABLE = "retriable"  # After the pivot: tried until it is done.


class StepOutcome(Enum):
    """How a participant has answered."""

    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"
    NULL = "null"  # There was nothing to undo.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that one participant does."""

    name: str
    command: str
    undo: str | None = None
    timeout: float = 60.0
    retries: int = 3
    kind: Kind = Kind.UNDOABLE
    trusted: tuple[str, ...] = ()  # The broker's users who may reply; none: each.


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a saga is, as its row says."""

    state: State
    step: str  # Empty once it has ended.
    turn: int = 1  # Grows with each move; a retry is none.
    attempt: int = 0
    undoing: bool = False  # Which way it went when it got stuck.


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where it is now, why, and whether a command leaves for that step."""

    place: Place
    sends: bool = False
    reason: str = ""
    pause: float = 0.0  # Of the command that leaves; its timeout begins after it.

    @property
    def has_ended(self) -> bool:
        """Nothing is left to be done."""
        return self.place.state in (State.COMPLETED, State.UNDONE)


def begin(steps: Sequence[Step]) -> Move:
    """The first command."""
    return Move(place=Place(state=State.FORWARD, step=steps[0].name), sends=True)


def replied(
    steps: Sequence[Step],
    place: Place,
    turn: int,
    outcome: StepOutcome,
    reason: str = "",
) -> Move | None:
    """What a reply changes; None: it answers a question that is not asked any more."""
    if turn != place.turn or not place.step:
        return None
    # An answer is an answer, also to one that had stopped waiting for it.
    if place.undoing:
        if outcome is StepOutcome.REFUSED:
            return _stuck(place, reason or "The participant refused to undo it.")
        if outcome is StepOutcome.DONE:
            return None
        return _undo_before(steps, place, place.step)
    if outcome is StepOutcome.DONE:
        return _go_on(steps, place)
    if outcome is not StepOutcome.REFUSED:
        return None
    if _step(steps, place.step).kind is Kind.RETRIABLE:
        # As after another try, or the timeout that is under way would ask again: from
        # here on, that is a person's to do.
        return _stuck(
            replace(place, attempt=place.attempt + 1),
            f"Refused after the pivot, where nothing can be undone: {reason}",
        )
    return _undo_before(steps, place, place.step, reason)


def timed_out(
    steps: Sequence[Step], place: Place, turn: int, attempt: int
) -> Move | None:
    """What it means that no reply has come; None: one has, or it is a late timeout."""
    is_late = (turn, attempt) != (place.turn, place.attempt) or not place.step
    step = _step(steps, place.step) if not is_late else None
    if step is None:
        return None
    if place.state is State.STUCK and step.kind is not Kind.RETRIABLE:
        return None
    exhausted = place.attempt >= step.retries
    if not exhausted or (step.kind is Kind.RETRIABLE and not place.undoing):
        return _again(place, step, stuck=exhausted)
    if place.undoing:
        return _stuck(place, "Its undo was not confirmed in time.")
    if step.kind is Kind.PIVOT:
        return _stuck(
            place, "The pivot was not answered, so it is not known whether it was done."
        )
    # Nobody knows whether it is done, so it is undone as well: the participant can
    # tell, and refuses it if it comes later.
    return _undo_from(steps, place, step.name, "It was not answered in time.")


def retry(steps: Sequence[Step], place: Place) -> Move:
    """A person lets a stuck saga try its step again."""
    state = State.UNDOING if place.undoing else State.FORWARD
    return Move(place=replace(place, state=state, attempt=0), sends=True)


def skip(steps: Sequence[Step], place: Place) -> Move:
    """A person has undone the step, or it need not be: go on with those before."""
    return _undo_before(steps, place, place.step)


def order(steps: Sequence[Step], place: Place) -> str:
    """The type of the command that is due."""
    step = _step(steps, place.step)
    return (step.undo or "") if place.undoing else step.command


def must(steps: Sequence[Step], place: Place) -> bool:
    """Whether there is no other way than this command: no refusal counts for good."""
    return place.undoing or _step(steps, place.step).kind is Kind.RETRIABLE


def _go_on(steps: Sequence[Step], place: Place) -> Move:
    names = [step.name for step in steps]
    rest = names[names.index(place.step) + 1 :]
    if not rest:
        return _ended(place, State.COMPLETED)
    return Move(
        place=Place(state=State.FORWARD, step=rest[0], turn=place.turn + 1), sends=True
    )


def _undo_before(
    steps: Sequence[Step], place: Place, name: str, reason: str = ""
) -> Move:
    names = [step.name for step in steps]
    before = [step for step in steps[: names.index(name)] if step.undo]
    if not before:
        return _ended(place, State.UNDONE, reason)
    return _undo(place, before[-1].name, reason)


def _undo_from(steps: Sequence[Step], place: Place, name: str, reason: str) -> Move:
    if _step(steps, name).undo is None:
        return _undo_before(steps, place, name, reason)
    return _undo(place, name, reason)


def _undo(place: Place, name: str, reason: str) -> Move:
    found = Place(state=State.UNDOING, step=name, turn=place.turn + 1, undoing=True)
    return Move(place=found, sends=True, reason=reason)


def _again(place: Place, step: Step, *, stuck: bool) -> Move:
    pause = 0.0
    if place.undoing or step.kind is Kind.RETRIABLE:
        pause = min(SLOWEST, step.timeout * 2 ** min(place.attempt, 10))
    state = State.STUCK if stuck else place.state
    reason = "It is not answered; it is tried again and again." if stuck else ""
    found = replace(place, state=state, attempt=place.attempt + 1)
    return Move(place=found, sends=True, reason=reason, pause=pause)


def _stuck(place: Place, reason: str) -> Move:
    return Move(place=replace(place, state=State.STUCK), reason=reason)


def _ended(place: Place, state: State, reason: str = "") -> Move:
    found = Place(state=state, step="", turn=place.turn + 1, undoing=place.undoing)
    return Move(place=found, reason=reason)


def _step(steps: Sequence[Step], name: str) -> Step:
    return next(step for step in steps if step.name == name)


class Direction(Enum):
    """What a participant is asked to do."""

    DO = "do"
    UNDO = "undo"


class Act(Enum):
    """What a participant does about a command."""

    ANSWER = "answer"  # It has, before: the same answer again.
    CALL = "call"
    NULL = "null"  # The undo of what never ran, and never will.


def act(
    direction: Direction,
    *,
    known: StepOutcome | None,
    was_done: StepOutcome | None,
    must: bool = False,
) -> Act:
    """
    The barrier: each thing once, an undo only of what was done, a late do never.

    ``known`` is how the same was answered before; None: it has never been asked.
    ``was_done`` is what the row of the do says when an undo comes; None: there was no
    row, and the undo has put one there, which keeps a late do from running. With
    ``must`` a refusal of before is no answer: the saga asks again for another.
    """
    if known is StepOutcome.REFUSED and must:
        return Act.CALL
    if known is not None:
        return Act.ANSWER
    if direction is Direction.DO:
        return Act.CALL
    return Act.CALL if was_done is StepOutcome.DONE else Act.NULL
