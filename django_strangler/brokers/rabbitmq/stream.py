"""Events on their way: those that stream, and those that are sent alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from django_strangler import tracing
from django_strangler.brokers.base import Kind, Outcome, Outgoing
from django_strangler.conf import Settings

from .blame import Blame
from .publisher import Publisher

# A message that the broker's side of the connection cannot stand closes it so.
_POISON = {501, 502, 503, 505, 540, 541}


class Stream:
    """
    One channel that all events stream through, while there is a connection.

    A second channel takes what is sent alone, so that a refusal there hurts nobody.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        report: Callable[[list[Outcome]], None],
        ready: Callable[[], None],
        refused: Callable[[str], None],
    ) -> None:
        self.inbox: deque[Sequence[Outgoing]] = deque()  # Other threads append.
        self.blocked = ""
        self.trouble = "connecting"
        self._settings = settings
        self._report_out, self._on_ready, self._on_refused = report, ready, refused
        self._blame = Blame()
        self._connection: Any = None
        self._producer: tracing.Producer | None = None
        self._main: Publisher | None = None
        self._alone: Publisher | None = None

    @property
    def up(self) -> bool:
        """Whether events can be sent now."""
        return self._main is not None and self._main.ready and not self.blocked

    def open(self, connection: Any, producer: tracing.Producer | None) -> None:
        """Stream over this connection, whose exchange is there."""
        if self._main is None:
            self._connection, self._producer = connection, producer
            self._open_main()

    def block(self, reason: str) -> None:
        """RabbitMQ takes nothing for now; with no reason, it does again."""
        self.blocked = reason
        for publisher in (self._main, self._alone):
            if publisher is not None:
                publisher.be_patient()
        self._main_ready()

    def overdue(self) -> bool:
        """Whether a confirm has not come in time; asked at each tick."""
        if self.blocked:
            return False
        publishers = [each for each in (self._main, self._alone) if each is not None]
        late = [each.overdue() for each in publishers]  # Each of them has to be asked.
        return any(late)

    def down(self, what: str, code: int = 0, reason: str = "") -> None:
        """Nothing can be sent now; what is under way is unknown, or under suspicion."""
        self.trouble, self.blocked = what, ""
        main, self._main = self._main, None
        alone, self._alone = self._alone, None
        if code in _POISON:
            if alone is not None and alone.unconfirmed:
                self._blame.refused(code, reason)
            if main is not None and main.unconfirmed:
                self._blame.begin(main.give_up(), code, reason)
        else:
            self._blame.abandon(what)
        if main is not None:
            self._report_unknown(main.give_up(), what)
        if alone is not None:
            alone.give_up()  # The blame knows it.
        self._report()
        self.pump()

    def pump(self) -> None:
        """Send what is in the inbox, unless a culprit is to be found first."""
        if self._blame.hunting:
            self._send_alone()
        while self.inbox and not (self._blame.hunting and self.up):
            events = self.inbox.popleft()
            if not self.up or self._main is None:
                self._report_unknown(events, self.blocked or self.trouble)
                continue
            if self._blame.watchful:
                events = self._blame.sift(events)
                self._report()
            self._main.publish(events)
            self._send_alone()

    def _open_main(self) -> None:
        self._main = self._publisher(self._main_ready, self._report, self._main_closed)

    def _publisher(
        self,
        ready: Callable[[], None],
        outcomes: Callable[[list[Outcome]], None],
        closed: Callable[[int, str, list[Outgoing]], None],
    ) -> Publisher:
        return Publisher(
            self._connection,
            exchange=self._settings.exchange,
            app_id=self._settings.source,
            producer=self._producer,
            ready=ready,
            outcomes=outcomes,
            closed=closed,
        )

    def _main_ready(self) -> None:
        if self.up:
            self.trouble = ""
            self._on_ready()
            self.pump()

    def _main_closed(self, code: int, reason: str, events: list[Outgoing]) -> None:
        self._main = None
        if code == 404:
            self._report_unknown(events, reason)
            self._on_refused(reason)
            return
        self._blame.begin(events, code, reason)
        self._go_on()

    def _alone_closed(self, code: int, reason: str, _events: list[Outgoing]) -> None:
        self._alone = None
        if code == 404:
            self._on_refused(reason)
            return
        self._blame.refused(code, reason)
        self._go_on()
        self._send_alone()

    def _alone_outcomes(self, outcomes: list[Outcome]) -> None:
        self._blame.passed()
        self._report(outcomes)
        self._send_alone()

    def _go_on(self) -> None:
        """After a refusal, do what the blame says."""
        self._report()
        if self._blame.trouble:
            trouble, self._blame.trouble = self._blame.trouble, ""
            self._on_refused(trouble)
        elif self._main is None:
            self._open_main()
        else:
            self.pump()

    def _send_alone(self) -> None:
        if not self._blame.pending or not self.up:
            return
        if self._alone is None:
            self._alone = self._publisher(
                self._send_alone, self._alone_outcomes, self._alone_closed
            )
        elif self._alone.ready and not self._alone.unconfirmed:
            event = self._blame.next()
            if self._blame.trouble:
                self._go_on()
                return
            self._report()
            if event is not None:
                self._alone.publish([event])
            elif self.inbox:
                self.pump()

    def _report(self, outcomes: Sequence[Outcome] = ()) -> None:
        if self._blame.outcomes:
            outcomes = [*self._blame.outcomes, *outcomes]
            self._blame.outcomes = []
        if outcomes:
            self._report_out(list(outcomes))

    def _report_unknown(self, events: Sequence[Outgoing], reason: str) -> None:
        self._report([Outcome(each.row, Kind.UNKNOWN, reason) for each in events])
