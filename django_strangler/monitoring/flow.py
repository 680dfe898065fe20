"""Whether events flow, in a sentence; a pure function of how things stand."""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from django_strangler import conf
from django_strangler.brokers import Cause
from django_strangler.brokers.patterns import matches
from django_strangler.outbox.held import UNROUTABLE
from django_strangler.outbox.models import Pause
from django_strangler.printable import are

from .state import ConsumerState, HeldState, Parked, PauseState, State

NAMED = 20  # Held types, and pauses, that get a sentence each.
_TODO = {  # What a person does about a type that is held.
    Cause.NACKED.value: "Make room in its queue, or bring its nodes back",
    Cause.OVERDUE.value: "Bring the nodes of its queue back",
    Cause.FORBIDDEN.value: "Let the relay's user write to the exchange",
    Cause.NODE_FAULT.value: "Look at the broker's log",
    UNROUTABLE: "Bind its queue before its events are parked",
}
_RESUME = {
    Pause.Scope.TYPE.value: "--resume",
    Pause.Scope.KEY.value: "--resume-key",
    Pause.Scope.ALL.value: "--resume-all",
}


class Reason(NamedTuple):
    """Why events do not flow, and what to do."""

    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.what}. {self.todo}"


class Mood(enum.Enum):
    """How well it is."""

    FINE = "fine"
    CONCERN = "concern"  # Events flow, and somebody has to look at something.
    TROUBLE = "trouble"  # Events do not flow.


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Whether events flow."""

    sentence: str  # How things are.
    reasons: tuple[Reason, ...] = ()  # Why events do not flow.
    concerns: tuple[Reason, ...] = ()  # What waits for a person all the same.

    @property
    def ready(self) -> bool:
        """Events flow."""
        return not self.reasons

    @property
    def mood(self) -> Mood:
        """The worst of it."""
        if self.reasons:
            return Mood.TROUBLE
        return Mood.CONCERN if self.concerns else Mood.FINE


def flow(
    state: State,
    settings: conf.Settings,
    dead_letters: Mapping[str, int] = MappingProxyType({}),  # By queue.
) -> Flow:
    """Judge a look."""
    reasons = (
        *_trouble_with_relays(state),
        *_trouble_with_age(state, settings.unhealthy_after),
        *_trouble_with_parking(state, settings.unhealthy_after),
    )
    concerns = (
        *_due_without_a_relay(state),
        *_held(state.held),
        *_paused(state.paused),
        *_wanted_again(state),
        *_parked(state, settings.unhealthy_after),
        *_dead(dead_letters),
    )
    if reasons:
        return replace(unhealthy(*reasons), concerns=concerns)
    return Flow(sentence=_sentence(state), concerns=concerns)


def unhealthy(*reasons: Reason) -> Flow:
    """Events do not flow, for these reasons."""
    return Flow(sentence=" ".join(map(str, reasons)), reasons=reasons)


def span(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _trouble_with_relays(state: State) -> Iterator[Reason]:
    start = "Start one: manage.py drain_outbox"
    if not state.relay_seen:
        yield Reason("No relay was ever seen", start)
    if state.live_relays:
        return
    # Its lanes are still its own: neither another relay nor a task has come after it.
    died = [relay for relay in state.relays if relay.steady and relay.lanes]
    if died:
        last = min(died, key=lambda relay: relay.overdue)
        yield Reason(f"The relay {last.name} died, {span(last.heartbeat)} ago", start)


def _trouble_with_age(state: State, most: float) -> Iterator[Reason]:
    if state.oldest_due is None or state.oldest_due <= most:
        return
    if not state.live_relays:
        todo = "No relay runs: start one with manage.py drain_outbox"
    elif state.held or state.paused:
        todo = "See first what is held or paused"
    else:
        todo = "Look at the relay's log, or run: manage.py strangler_doctor"
    yield Reason(f"The oldest due event has waited for {span(state.oldest_due)}", todo)


def _trouble_with_parking(state: State, within: float) -> Iterator[Reason]:
    fresh = [each for each in state.parked if each.newest <= within]
    if fresh:
        yield Reason(
            f"Events are being parked: {_kinds(fresh)}",
            f"Mend the cause, then run: {_replay(fresh)}",
        )


def _parked(state: State, within: float) -> Iterator[Reason]:
    old = [
        each
        for each in state.parked
        if each.newest > within and wants_again(state, each) is None
    ]
    if old:
        count = sum(each.count for each in old)
        more = "More than " if state.more_parked else ""
        yield Reason(
            f"{more}{are(count, 'event')} parked: {_kinds(old)}",
            f"Mend the cause, then run: {_replay(old)}",
        )


def _held(types: Sequence[HeldState]) -> Iterator[Reason]:
    for each in types[:NAMED]:
        why = (each.reason or each.cause).rstrip(".")
        yield Reason(
            f"The type {each.type!r} is held for {span(each.age)}: {why}",
            f"{_TODO.get(each.cause, 'Mend the cause')}; it opens by itself, and is "
            f"tried again in {span(each.next_probe)}",
        )
    if len(types) > NAMED:
        yield Reason(
            f"{are(len(types) - NAMED, 'more type')} held",
            "Mend the cause of the first ones",
        )


def _paused(pauses: Sequence[PauseState]) -> Iterator[Reason]:
    for each in pauses[:NAMED]:
        what = f"The {each.scope} {each.name!r}" if each.name else "Everything"
        by, why = f" by {each.by}" * bool(each.by), f": {each.why}" * bool(each.why)
        name = f" {shlex.quote(each.name)}" if each.name else ""
        yield Reason(
            f"{what} is paused for {span(each.age)}{by}{why.rstrip('.')}",
            f"To go on: manage.py drain_outbox {_RESUME[each.scope]}{name}",
        )
    if len(pauses) > NAMED:
        yield Reason(
            f"{are(len(pauses) - NAMED, 'more pause')} active",
            "They are listed in the admin",
        )


def wants_again(state: State, parked: Parked) -> ConsumerState | None:
    """A consumer that has bound its queue since these were parked for want of one."""
    if parked.reason != UNROUTABLE:
        return None
    for each in state.live_consumers:
        # One that was there before has evidently not got the binding.
        if each.age < parked.newest and any(
            matches(pattern, parked.type) for pattern in each.patterns
        ):
            return each
    return None


def again(parked: Parked, consumer: ConsumerState) -> Reason:
    """A replay would now succeed."""
    return Reason(
        f"{are(parked.count, 'event')} parked as unroutable of type {parked.type!r}, "
        f"which the queue {consumer.queue!r} has wanted for {span(consumer.age)}",
        f"A replay would now succeed: {_replay([parked])}",
    )


def _wanted_again(state: State) -> Iterator[Reason]:
    for each in state.parked:
        if consumer := wants_again(state, each):
            yield again(each, consumer)


def _due_without_a_relay(state: State) -> Iterator[Reason]:
    if state.oldest_due is not None and not state.live_relays:
        events = "1 event waits" if state.pending == 1 else f"{_pending(state)} wait"
        yield Reason(
            f"No relay runs, and {events}", "Start one: manage.py drain_outbox"
        )


def _dead(letters: Mapping[str, int]) -> Iterator[Reason]:
    for queue, count in sorted(letters.items()):
        if count:
            yield Reason(
                f"{are(count, 'dead letter')} in the queue {queue!r}",
                f"See why: manage.py dead_letters --queue {queue}",
            )


def _kinds(groups: Sequence[Parked]) -> str:
    kinds = ", ".join(f"{each.type} ({each.reason})" for each in groups[:3])
    return f"{kinds}{', …' if len(groups) > 3 else ''}"


def _replay(groups: Sequence[Parked]) -> str:
    # What is named is replayed, and nothing that was parked for another reason.
    more = ", and so on" if len(groups) > 1 else ""
    first = groups[0]
    return f"manage.py replay_events --type {first.type} --reason {first.reason}{more}"


def _sentence(state: State) -> str:
    if state.live_relays:
        return f"Events flow: {_shown(state)}."
    if state.oldest_due is not None:
        return f"Events wait: {_shown(state)}."
    return f"No event waits, and no relay runs now: {_shown(state)}."


def _pending(state: State) -> str:
    more = "more than " if state.more_pending else ""
    return f"{more}{state.pending:,} events"


def _shown(state: State) -> str:
    more = "more than " if state.more_pending else ""
    parts = [f"{more}{state.pending:,} pending"]
    if state.oldest_due is not None:
        parts.append(f"the oldest due for {span(state.oldest_due)}")
    live = len(state.live_relays)
    if live:
        parts.append(f"{are(live, 'relay')} running")
    if state.parked:
        more = "more than " if state.more_parked else ""
        parts.append(f"{more}{state.parked_count:,} parked")
    return ", ".join(parts)
