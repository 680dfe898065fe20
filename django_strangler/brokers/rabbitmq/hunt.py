"""The search for the event that RabbitMQ closed a channel for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django_strangler.brokers.base import Kind, Outcome, Outgoing

from .culprit import NODE_FAULTS, Conclusion, Refusal, Search, search
from .probes import Probe, Probes


class Hunt:
    """Does what ``search`` asks for, and says in the end what came of it."""

    def __init__(
        self,
        probes: Probes,
        *,
        passed: Callable[[Outgoing, Outcome, None], None],
        # And who has no outcome yet.
        over: Callable[[Conclusion, list[Outgoing]], None],
    ) -> None:
        self._probes = probes
        self._on_passed, self._on_over = passed, over
        self._search: Search | None = None
        self._suspects: dict[int, Outgoing] = {}  # By row.
        self._alone = False

    @property
    def is_on(self) -> bool:
        """Whether the culprit is still at large."""
        return self._search is not None

    def begin(self, events: Sequence[Outgoing], refusal: Refusal) -> None:
        """One of these was it."""
        self._suspects = {event.row: event for event in events}
        self._search = search(events, refusal)
        self._alone = refusal.code in NODE_FAULTS
        self._go_on(None)

    def _go_on(self, said: Refusal | None) -> None:
        assert self._search is not None
        try:
            event = self._search.send(said)
        except StopIteration as end:
            self._end(end.value)
        else:
            self._probes.send(Probe([event], self._probed, alone=self._alone))

    def _probed(
        self, event: Outgoing, outcome: Outcome, refusal: Refusal | None
    ) -> None:
        if refusal is not None:
            self._go_on(refusal)
        elif outcome.kind is Kind.UNKNOWN and not outcome.cause.holds_type:
            self._end(Conclusion())  # The link for probes is lost: another time.
        else:
            self._suspects.pop(event.row, None)
            self._on_passed(event, outcome, None)
            self._go_on(None)

    def _end(self, conclusion: Conclusion) -> None:
        suspects, self._suspects = list(self._suspects.values()), {}
        self._search = None
        self._on_over(conclusion, suspects)
