"""Events on their way, and apart from them those that may not get through."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

from django_strangler import tracing
from django_strangler.announcing import Announcer
from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing
from django_strangler.conf import Settings

from .channels import Channels
from .culprit import NODE_FAULTS, Blame, Conclusion, Refusal
from .declare import Exchange
from .event_channel import ChannelUser, EventChannel
from .explain import TROUBLE, WELL, logger
from .hunt import Hunt
from .lateness import Lateness, Settled
from .link import Link, Loop, Loss, Pauses
from .patience import Patience
from .probes import Probe, Probes
from .refusals import Refusals
from .urls import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the broker waits for what, in seconds."""

    pauses: Pauses = field(default_factory=Pauses)
    # When one type was confirmed and another was not: how much longer that may take.
    # A fifth of the confirm timeout, if that is more.
    neighbour: float = 1.0
    # A channel that confirms nothing at all may be blocked by one queue.
    silence: float = 0.8
    # A fault of the node is not blamed on an event before that.
    blame: float = 120.0
    # Without a refusal for so long, a queue has room again.
    calm: float = 15.0
    fast: bool = True  # By pika's private face.


class Sender:
    """
    One link and one channel that all events stream through, and a link for probes.

    What is healthy never shares a channel or a link with a suspect. Whose fault it is
    that RabbitMQ closes a channel, or does not confirm, is found out over the link for
    probes; meanwhile what comes in waits.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        settings: Settings,
        limits: Limits,
        *,
        report: Callable[[list[Outcome]], None],
        turn: Callable[[], None],
    ) -> None:
        self.trouble = ""  # None yet: it connects.
        self.blocked = ""
        self._settings, self._limits = settings, limits
        self._report, self._turn = report, turn
        # Other threads append: events, and whether they are probes.
        self._incoming: deque[tuple[Sequence[Outgoing], bool]] = deque()
        self._announcer = Announcer(logger)
        # By where it leads: pika copies the parameters.
        self._nodes = {(node.host, node.port): node for node in nodes}
        self._loop = Loop("strangler-rabbitmq", self._begin)
        self._link = Link(
            self._loop,
            nodes,
            up=self._up,
            down=self._down,
            prepare=Exchange(settings.exchange).look,
            pauses=limits.pauses,
        )
        # Another node is the better witness.
        self._probes = Probes(self._loop, [*nodes[1:], nodes[0]], self._open_channel)
        self._producer: tracing.Producer | None = None
        self._channels = Channels()
        self._unproven = False  # There was trouble; being connected proves nothing.
        self._proved_at = float("-inf")
        self._too_large = float("inf")
        self._refusals, self._blame = Refusals(calm=limits.calm), Blame(limits.blame)
        self._hunt = Hunt(self._probes, passed=self._probed, over=self._judge)
        self._lateness = Lateness(
            self._loop,
            self._probes,
            neighbour=max(limits.neighbour, *(it.confirm_timeout / 5 for it in nodes)),
            found=self._renew_without,
            nothing=self._pump,
        )
        self._patience = Patience(
            self._loop,
            self._link,
            self._channels,
            silence=limits.silence,
            hunt=self._hunt,
            lateness=self._lateness,
            is_blocked=lambda: bool(self.blocked),
        )

    # From other threads.

    @property
    def is_ready(self) -> bool:
        """Whether events can be sent now."""
        main = self._channels.main
        return main is not None and main.ready and not self.blocked

    def start(self) -> None:
        """Connect, on a thread of its own."""
        self._loop.start()

    def finish(self, timeout: float) -> None:
        """Close the connections and end the thread."""
        self._loop.finish(timeout)

    def send(self, events: Sequence[Outgoing], *, probe: bool) -> None:
        """Hand over a batch; one wake-up for all of it."""
        self._incoming.append((events, probe))
        self._loop.call(self._pump)

    # The link.

    def _begin(self) -> None:
        self._link.open()

    def _up(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._was_blocked)
        connection.add_on_connection_unblocked_callback(self._was_unblocked)
        node = self._link.node
        self._producer = tracing.producer(self._settings.exchange, node.host, node.port)
        self._patience.begin(connection)
        self._channels.main = self._open_channel(connection, self)

    def _down(self, loss: Loss) -> None:
        """Nothing can be sent; what is under way is unknown, or under suspicion."""
        if loss.todo:
            self._announcer.once(loss.what, TROUBLE, loss.what, loss.todo)
        self.trouble, self.blocked = loss.what, ""
        self._lateness.call_off()
        events = self._channels.give_up()
        self._turn()
        if loss.code in NODE_FAULTS:
            self._suspect(events, Refusal(loss.code, loss.text))
        else:
            self._report_lost(events, loss.what)
        self._pump()

    def _was_blocked(self, connection: object, frame: Any) -> None:
        if connection is self._link.connection:
            self.trouble = self.blocked = f"blocked: {frame.method.reason}"
            what = f"{self._link.node.shown} is {self.blocked}"
            todo = "It takes nothing until it has memory and disk again; events wait."
            self._announcer.once(what, TROUBLE, what, todo)
            self._turn()
            self._channels.be_patient()

    def _was_unblocked(self, connection: object, _frame: object) -> None:
        if connection is self._link.connection:
            self.blocked = ""
            self._channels.be_patient()
            self._go_on()

    # The channels.

    def _open_channel(self, connection: Any, user: ChannelUser) -> EventChannel:
        node = self._nodes[connection.params.host, connection.params.port]
        return EventChannel(
            connection,
            exchange=self._settings.exchange,
            app_id=self._settings.source,
            user_id=node.vouched_user,
            cloudevents=node.cloudevents,
            producer=self._producer,
            fast=self._limits.fast,
            user=user,
        )

    def opened(self, channel: EventChannel) -> None:
        """Events can be published now."""
        if channel is self._channels.next:
            self._channels.take_next()
        self._go_on()

    def ended(
        self, channel: EventChannel, events: list[Outgoing], outcomes: list[Outcome]
    ) -> None:
        """These have their outcomes."""
        last = outcomes[-1]
        if last.cause is Cause.NACKED:
            for event in events:
                self._refusals.note(event.type, last)
            # A full quorum queue may refuse a channel for ever, though its limit is
            # gone (RabbitMQ 3.10); it does not refuse a new one.
            if channel is self._channels.main and self._channels.next is None:
                connection = self._link.connection
                self._channels.next = self._open_channel(connection, self)
        elif last.kind is not Kind.REJECTED:  # That was ours, and proves nothing.
            self._prove()
        if self._refusals:
            self._refusals.settle(events, outcomes)
        self._channels.leave_replaced()
        self._report(outcomes)
        if channel is self._channels.main and self._lateness.is_early:
            self._lateness.abandon()  # It was not silenced, only slow.

    def closed(
        self, channel: EventChannel, code: int, text: str, events: list[Outgoing]
    ) -> None:
        """RabbitMQ closed it, with these unconfirmed."""
        self._lateness.call_off()
        if self._channels.forget(channel):
            self._channels.main = self._open_channel(self._link.connection, self)
        self._suspect(events, Refusal(code, text))

    def _go_on(self) -> None:
        if self.is_ready:
            self.trouble = ""
            if not self._unproven:
                self._announcer.all_over(WELL, self._link.node.shown)
            self._turn()
            self._pump()

    def _prove(self) -> None:
        self._link.prove()
        self._proved_at = time.monotonic()
        if self._unproven:
            self._unproven = False
            self._announcer.all_over(WELL, self._link.node.shown)

    def _refuses_everything(self, reason: str) -> None:
        self._unproven = True
        self._link.renew(
            Loss(
                f"{self._link.node.shown} refuses every event: {reason}",
                "Create what is missing, or give the user write permission to the "
                "exchange, or take ?user_id=off if that is what it says; events wait.",
            ),
            politely=True,
        )

    # Sending.

    def _pump(self) -> None:
        """Send what has come in, unless a culprit is to be found first."""
        is_looking = self._hunt.is_on or self._lateness.is_on
        while self._incoming and not (is_looking and self.is_ready):
            events, probe = self._incoming.popleft()
            try:
                self._send(events, probe)
            except Exception:
                # A bug, of which the log will tell: nothing stays without an outcome.
                for event in events:
                    self._channels.withdraw(event)
                self._report_lost(events, "an unexpected error; see the log")
                raise

    def _send(self, events: Sequence[Outgoing], probe: bool) -> None:
        main = self._channels.main
        if not self.is_ready or main is None:
            self._report_lost(events, self.trouble or "connecting")
        elif probe:
            by_type = attrgetter("type")
            for _, group in groupby(sorted(events, key=by_type), by_type):
                self._probes.send(Probe(list(group), self._probed))
        else:
            limit = self._too_large
            # Refused before, or as large as one that was too large.
            apart = [it for it in events if it.attempts or it.size >= limit]
            usual = [it for it in events if it not in apart] if apart else events
            main.publish(usual)
            for event in apart:
                self._probes.send(Probe([event], self._probed))

    def _probed(
        self, event: Outgoing, outcome: Outcome, refusal: Refusal | None
    ) -> None:
        """What became of one that was sent apart."""
        if refusal is not None and not refusal.is_of_everything:
            outcome = self._blame.outcome(event, refusal, self._proved_at)
        if outcome.kind is Kind.CONFIRMED:
            self._proved_at = time.monotonic()
            if event.size >= self._too_large:
                self._too_large = float("inf")
        if outcome.cause.holds_type:
            self._refusals.note(event.type, outcome)
        elif self._refusals:
            self._refusals.settle([event], [outcome])
        self._report([outcome])

    # Which type is not confirmed.

    def _renew_without(self, settled: Settled, ill: dict[str, Outcome]) -> None:
        """Go on without the types that are not confirmed, or with another node."""
        withdraw = self._channels.withdraw
        self._report([told for event, told in settled if withdraw(event)])
        if not ill:
            timeout = self._link.node.confirm_timeout
            what = f"{self._link.node.shown} confirmed nothing for {timeout:g} s"
            self._unproven = True
            todo = "The node hangs, or the network swallows; another is tried."
            self._link.renew(Loss(what, todo))
            return
        for type, outcome in ill.items():
            self._refusals.note(type, outcome)
        events = [each for each in self._channels.unconfirmed if each.type in ill]
        for event in events:
            withdraw(event)
        self._report([ill[each.type]._replace(row=each.row) for each in events])
        what = f"{self._link.node.shown} did not confirm {', '.join([*ill][:3])}"
        self._link.renew(Loss(what, ""))

    # Whom a channel or a connection was closed for.

    def _suspect(self, events: Sequence[Outgoing], refusal: Refusal) -> None:
        """It was closed with these unconfirmed."""
        if refusal.is_of_everything:
            self._report_lost(events, refusal.text)
            self._refuses_everything(refusal.text)
        elif self._hunt.is_on:
            self._report_lost(events, refusal.text)
        else:
            self._hunt.begin(events, refusal)

    def _judge(self, verdict: Conclusion, suspects: list[Outgoing]) -> None:
        culprit, refusal = verdict
        reason = refusal.text if refusal else "RabbitMQ closed the channel."
        if culprit is not None and refusal is not None:
            outcome = self._blame.outcome(culprit, refusal, self._proved_at)
            if outcome.cause.holds_type:
                self._refusals.note(culprit.type, outcome)
                guilty = [it for it in suspects if it.type == culprit.type]
            else:
                guilty = [culprit]
                if refusal.names_size(culprit):
                    self._too_large = min(self._too_large, culprit.size)
            self._report([outcome._replace(row=each.row) for each in guilty])
            suspects = [each for each in suspects if each not in guilty]
            reason = f"The channel was closed for another event: {reason}"
        self._report_lost(suspects, reason)
        if culprit is None and refusal is not None:
            self._refuses_everything(refusal.text)
        else:
            self._pump()

    def _report_lost(self, events: Iterable[Outgoing], reason: str) -> None:
        outcomes = [Outcome(each.row, Kind.UNKNOWN, reason) for each in events]
        if outcomes:
            self._report(outcomes)
