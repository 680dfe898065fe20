"""Making a move: the row, its history and the next command, in one transaction."""

from __future__ import annotations

from django_strangler import counting, evidence
from django_strangler.clock import DatabaseNow

from . import rules
from .definitions import registry
from .messages import REPLY, TIMEOUT, Address, send
from .models import SagaRun, SagaStep

ENDS = {
    rules.State.COMPLETED: "saga.completed",
    rules.State.UNDONE: "saga.undone",
    rules.State.STUCK: "saga.stuck",
}
moves = counting.counter(
    "sagas_moves", "Sagas that came into a state.", labels=("saga", "state")
)
ignored = counting.counter(
    "sagas_ignored", "Messages that came too late to matter.", labels=("saga", "kind")
)
forged = counting.counter(
    "sagas_forged", "Replies and timeouts that were forged.", labels=("saga", "kind")
)


def make(run: SagaRun, move: rules.Move) -> None:
    """Change the row, which the caller has locked, and send what the move says."""
    alias = str(run._state.db)
    before, place = run.place, move.place
    steps = registry.get(run.name, run.version).steps
    step = next((each for each in steps if each.name == place.step), None)
    run.state, run.step, run.turn = place.state.value, place.step, place.turn
    run.attempt, run.undoing = place.attempt, place.undoing
    is_well = place.state in (rules.State.FORWARD, rules.State.COMPLETED)
    run.reason = "" if is_well else (move.reason or run.reason)[:500]
    wait = move.pause + (step.timeout if step else 0.0)
    run.updated_at = DatabaseNow()
    run.due_at = DatabaseNow(wait) if move.sends else None
    run.save(using=alias)
    address = Address(
        saga=run.saga_id,
        turn=place.turn,
        attempt=place.attempt,
        step=place.step,
        must=move.sends and rules.must(steps, place),
    )
    if move.sends:
        order = rules.order(steps, place)
        asks, reminds = address.sealed(REPLY), address.sealed(TIMEOUT)
        send(order, run.data, asks, using=alias, pause=move.pause)
        send(TIMEOUT, {}, reminds, using=alias, pause=wait)
    if place.state is not before.state:
        _tell(run, place, address, alias)


def _tell(run: SagaRun, place: rules.Place, address: Address, alias: str) -> None:
    moves.add(run.name, place.state.name.lower())
    if type := ENDS.get(place.state):
        payload = {
            "saga": run.name,
            "correlation": run.correlation,
            "data": run.data,
            "reason": run.reason,
        }
        send(type, payload, address, using=alias)
        is_well = place.state is not rules.State.STUCK
        evidence.note(f"saga:{run.name}", side="modern", ok=is_well)


def record(
    run: SagaRun, place: rules.Place, outcome: str, reason: str = "", by: str = ""
) -> None:
    """One line of the saga's history."""
    SagaStep.objects.using(run._state.db).create(
        run=run,
        turn=place.turn,
        step=place.step,
        undoing=place.undoing,
        outcome=outcome,
        reason=reason[:500],
        by=by,
    )
