"""Probes: whether a held type is taken again is tried with its own oldest events."""

from __future__ import annotations

from collections.abc import Collection

from django_strangler.brokers import Outgoing

from . import held_rows
from .rows import Reach
from .sending import Sending
from .work import Work

FEW = 5  # Candidates that are looked at first,
AT_ONCE = 50  # and then,
LOOKS = 10  # so often; they may all wait behind other types.
ANOTHER_PROBES = 2.0  # When to ask again whether it has come to us.
RATE_PAUSE = 0.1  # Seconds at most, before it is asked again what the rate allows.


class Probing:
    """Sends probes when their time has come, and more once they are confirmed."""

    def __init__(self, work: Work, sending: Sending) -> None:
        self._work, self._sending = work, sending

    def probe(self) -> bool:
        """Send what is due; False if nothing was."""
        work, held = self._work, self._work.held
        lanes = work.leases.lanes - work.leases.leaving
        if not lanes:
            return False
        sent = False
        for type in held.due(work.clock()):
            now = work.clock()
            allowed = self._sending.allows(held[type].allowed)
            if not allowed:
                # The others as well: the loop has more to do than to wait for each.
                work.stop.wait(min(self._sending.pause, RATE_PAUSE))
                return True
            events = self._oldest(type, lanes, allowed)
            if not events:
                held.has_none(type, now)
            elif held_rows.claim(
                type,
                using=work.store.connection.alias,
                is_opening=bool(held[type].went),
            ):
                held.probe(type, [event.row for event in events])
                work.backlog.start(events)
                self._sending.hand_over_probes(events)
                sent = True
            else:
                held[type].probe_at = now + ANOTHER_PROBES
        return sent

    def _oldest(self, type: str, lanes: Collection[int], count: int) -> list[Outgoing]:
        """The type's oldest events that follow nothing which is pending."""
        work = self._work
        reach = Reach(
            lanes,
            work.backlog.known_rows(),
            parked_hold=work.settings.parked_holds_key,
        )
        count = min(count, work.settings.relay.window - work.backlog.unmarked)
        found: list[Outgoing] = []
        after, limit = 0, max(FEW, count)
        for _ in range(LOOKS):
            due = work.store.read_type(reach, type, limit, after=after)
            events = [each.event for each in due if each.wait <= 0]
            keyed = {event.order_key: event.row for event in reversed(events)}
            keyed.pop("", None)
            oldest = work.store.oldest(reach, keyed.values())
            found += [
                event
                for event in events
                if (not event.order_key or oldest.get(event.row) == event.row)
                and not work.backlog.is_kept_back(event)
                and event.order_key not in work.held.keys
            ]
            if len(found) >= count or len(due) < limit:
                break
            after, limit = due[-1].event.row, max(AT_ONCE, count)
        if not found:
            due = work.store.read_delayed(reach, count, type)
            found = [each.event for each in due]
        return found[:count]
