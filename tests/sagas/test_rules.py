"""How long is waited between two tries."""

from __future__ import annotations

from django_strangler.sagas import rules
from django_strangler.sagas.rules import Kind, Place, State, Step, StepOutcome

STEPS = (
    Step(name="a", command="a.do", undo="a.undo", timeout=10, retries=3),
    Step(name="b", command="b.do", timeout=10, retries=3, kind=Kind.PIVOT),
    Step(name="c", command="c.do", timeout=10, retries=3, kind=Kind.RETRIABLE),
)


def tries(place: Place, number: int) -> list[tuple[State, float]]:
    found = []
    for _ in range(number):
        move = rules.timed_out(STEPS, place, place.turn, place.attempt)
        if move is None or not move.sends or move.place.turn != place.turn:
            found.append((move.place.state if move else place.state, -1.0))
            break
        place = move.place
        found.append((place.state, move.pause))
    return found


def test_before_the_pivot_and_at_it_a_try_follows_the_other():
    for step, end in (("a", State.UNDOING), ("b", State.STUCK)):
        pauses = tries(Place(state=State.FORWARD, step=step), 9)

        assert pauses == [*[(State.FORWARD, 0.0)] * 3, (end, -1.0)]


def test_an_undo_is_tried_with_growing_pauses_until_it_is_stuck():
    pauses = tries(Place(state=State.UNDOING, step="a", undoing=True), 9)

    undoing = [(State.UNDOING, each) for each in (10.0, 20.0, 40.0)]
    assert pauses == [*undoing, (State.STUCK, -1.0)]


def test_behind_the_pivot_pauses_grow_up_to_an_hour_and_it_never_ends():
    pauses = tries(Place(state=State.FORWARD, step="c"), 20)

    assert [pause for _, pause in pauses[:4]] == [10.0, 20.0, 40.0, 80.0]
    assert [state for state, _ in pauses[:4]] == [State.FORWARD] * 3 + [State.STUCK]
    assert pauses[-1] == (State.STUCK, rules.SLOWEST)
    assert len(pauses) == 20


def test_a_refusal_after_the_pivot_is_a_person_s_and_no_timeout_asks_again():
    asked = Place(state=State.FORWARD, step="c", turn=3)

    move = rules.replied(STEPS, asked, 3, StepOutcome.REFUSED, "no van")

    assert move is not None
    assert move.place.state is State.STUCK
    assert "no van" in move.reason
    assert rules.timed_out(STEPS, move.place, asked.turn, asked.attempt) is None
    again = rules.retry(STEPS, move.place)
    assert (again.sends, again.place.state) == (True, State.FORWARD)
