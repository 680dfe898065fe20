"""Whether it is well how things stand, in a sentence; a pure function of a look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from django_strangler import conf

from .state import State


class Reason(NamedTuple):
    """Why events do not flow, and what to do."""

    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.what}. {self.todo}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether events flow."""

    sentence: str  # How things are.
    reasons: tuple[Reason, ...] = ()  # Why they do not.

    @property
    def ready(self) -> bool:
        """Events flow."""
        return not self.reasons


def verdict(state: State, settings: conf.Settings) -> Verdict:
    """Judge a look."""
    reasons = (
        *_trouble_with_relays(state),
        *_trouble_with_age(state, settings.unhealthy_after),
        *_trouble_with_parking(state, settings.unhealthy_after),
    )
    if reasons:
        return unhealthy(*reasons)
    return Verdict(sentence=f"Events flow: {_shown(state)}.")


def unhealthy(*reasons: Reason) -> Verdict:
    """Events do not flow, for these reasons."""
    return Verdict(sentence=" ".join(map(str, reasons)), reasons=reasons)


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
    yield Reason(
        f"The oldest due event waits for {span(state.oldest_due)}",
        "Look at the relay's log, or run: manage.py strangler_doctor"
        if state.live_relays
        else "No relay lives: run manage.py drain_outbox",
    )


def _trouble_with_parking(state: State, within: float) -> Iterator[Reason]:
    fresh = [each for each in state.parked if each.newest <= within]
    if not fresh:
        return
    kinds = ", ".join(f"{each.type} ({each.reason})" for each in fresh[:3])
    yield Reason(
        f"Events are being parked: {kinds}{', …' if len(fresh) > 3 else ''}",
        "Mend the cause, then run: manage.py replay_events --type '#'",
    )


def _shown(state: State) -> str:
    more = "more than " if state.more_pending else ""
    parts = [f"{more}{state.pending:,} pending"]
    if state.oldest_due is not None:
        parts.append(f"the oldest due for {span(state.oldest_due)}")
    live = len(state.live_relays)
    parts.append("1 relay lives" if live == 1 else f"{live} relays live")
    if state.parked:
        more = "more than " if state.more_parked else ""
        parts.append(f"{more}{state.parked_count:,} parked")
    return ", ".join(parts)
