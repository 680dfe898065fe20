"""
Every order in which messages can arrive, walked through: no bad state is reachable.

The model is the rules themselves, a participant per step, and a set of messages that
stay for ever: each may be lost, late, doubled and overtaken by any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from django_strangler.sagas import rules
from django_strangler.sagas.rules import (
    Act,
    Direction,
    Kind,
    Place,
    State,
    Step,
    StepOutcome,
)


@dataclass(frozen=True)
class Message:
    kind: str  # "command", "reply" or "timeout".
    step: str
    turn: int
    attempt: int = 0
    undoes: bool = False
    outcome: StepOutcome | None = None


@dataclass(frozen=True)
class Side:
    """What one participant has in its tables."""

    do: StepOutcome | None = None
    undo: StepOutcome | None = None
    effects: int = 0  # What was done and not undone.
    calls: int = 0
    undos: int = 0


@dataclass(frozen=True)
class World:
    place: Place
    messages: frozenset[Message]
    sides: tuple[tuple[str, Side], ...]

    def side(self, step: str) -> Side:
        return dict(self.sides)[step]


def steps(retries: int, *, pivot: bool) -> tuple[Step, ...]:
    def make(name: str, kind: Kind) -> Step:
        undo = f"{name}.undo" if kind is Kind.UNDOABLE else None
        return Step(
            name=name, command=f"{name}.do", undo=undo, retries=retries, kind=kind
        )

    kinds = [Kind.UNDOABLE, Kind.PIVOT, Kind.RETRIABLE]
    if not pivot:
        kinds = [Kind.UNDOABLE] * 3
    return tuple(make(name, kind) for name, kind in zip("abc", kinds, strict=True))


def sent(world: World, move: rules.Move) -> World:
    place = move.place
    messages = world.messages
    if move.sends:
        one = Message("command", place.step, place.turn, place.attempt, place.undoing)
        messages |= {one, replace(one, kind="timeout", undoes=False)}
    return replace(world, place=place, messages=messages)


def handled(world: World, message: Message, refuses: bool, *, must: bool) -> World:
    """What a participant does about a command; as ``participants`` does it."""
    side = world.side(message.step)
    must = must or message.undoes
    if message.undoes:
        what = rules.act(Direction.UNDO, known=side.undo, was_done=side.do, must=must)
        outcome = side.undo
        if what is Act.NULL:
            outcome = StepOutcome.NULL
            side = replace(side, undo=outcome, do=side.do or StepOutcome.NULL)
        elif what is Act.CALL and refuses:
            outcome = StepOutcome.REFUSED
            side = replace(side, undo=outcome)
        elif what is Act.CALL:
            outcome = StepOutcome.UNDONE
            side = replace(
                side, undo=outcome, effects=side.effects - 1, undos=side.undos + 1
            )
    else:
        what = rules.act(Direction.DO, known=side.do, was_done=None, must=must)
        outcome = side.do
        if what is Act.CALL and refuses:
            outcome = StepOutcome.REFUSED
            side = replace(side, do=outcome)
        elif what is Act.CALL:
            outcome = StepOutcome.DONE
            side = replace(
                side, do=outcome, effects=side.effects + 1, calls=side.calls + 1
            )
        if outcome is StepOutcome.NULL:
            outcome = StepOutcome.REFUSED
    answer = Message("reply", message.step, message.turn, outcome=outcome)
    sides = tuple((n, side if n == message.step else s) for n, s in world.sides)
    return replace(world, messages=world.messages | {answer}, sides=sides)


def successors(world: World, all: tuple[Step, ...]) -> set[World]:
    found = set()
    for message in world.messages:
        if message.kind == "command":
            must = all[-1].kind is Kind.RETRIABLE and message.step == all[-1].name
            for refuses in (False, True):
                found.add(handled(world, message, refuses, must=must))
            continue
        if message.kind == "reply":
            assert message.outcome is not None
            move = rules.replied(all, world.place, message.turn, message.outcome)
        else:
            move = rules.timed_out(all, world.place, message.turn, message.attempt)
        # After the pivot it is tried for ever: five times will do here.
        if move is not None and move.place.attempt <= all[0].retries + 1:
            found.add(sent(world, move))
    if world.place.state is State.STUCK:  # A person may let it try again.
        found.add(sent(world, rules.retry(all, world.place)))
    return found - {world}


def check(world: World, all: tuple[Step, ...]) -> None:
    place = world.place
    for step in all:
        side = world.side(step.name)
        assert side.calls <= 1, "done twice"
        assert 0 <= side.effects <= 1, "undone what was not done"
        assert side.undos <= side.calls
        if step.kind is not Kind.UNDOABLE:
            assert side.undo is None, "a step from the pivot on was undone"
        if place.state is State.COMPLETED:
            assert side.effects == 1, "completed, and a step is not done"
        if place.state is State.UNDONE:
            assert side.effects == 0, "undone, and a step is still done"
            late = [m for m in world.messages if m.kind == "command"]
            for message in late:
                if message.step == step.name and not message.undoes:
                    after = handled(world, message, refuses=False, must=False)
                    assert after.side(step.name).effects == 0, "a late do was done"


@pytest.mark.parametrize("pivot", [True, False])
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_no_order_of_messages_leads_to_a_bad_state(retries, pivot):
    all = steps(retries, pivot=pivot)
    nothing = World(
        place=Place(state=State.FORWARD, step="a"),
        messages=frozenset(),
        sides=tuple((step.name, Side()) for step in all),
    )
    first = sent(nothing, rules.begin(all))
    seen, waiting, ends = {first}, [first], set()
    while waiting:
        world = waiting.pop()
        check(world, all)
        ends.add(world.place.state)
        for after in successors(world, all):
            if after not in seen:
                seen.add(after)
                waiting.append(after)

    # All of them are reached, so that the checks have seen what they are for.
    assert ends == set(State)


def test_a_wrong_rule_is_found(monkeypatch):
    """The walk has teeth: without the barrier it fails."""

    def without_barrier(direction, *, known, was_done, must):
        return Act.CALL if known is None else Act.ANSWER

    monkeypatch.setattr(rules, "act", without_barrier)
    with pytest.raises(AssertionError, match="undone"):
        test_no_order_of_messages_leads_to_a_bad_state(0, False)
