"""The thread that all of pika runs on."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from django_strangler import tracing
from django_strangler.brokers.base import Kind, Outcome, Outgoing
from django_strangler.conf import Settings

from .blame import Blame
from .diary import Diary, explain, logger, quieten_pika
from .exchange import Exchange
from .publisher import TICKS, Publisher
from .urls import Node

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # Between two attempts, in seconds.
STEADY = 5.0  # Up for so long, the next loss starts with the first pause again.
QUIET = 15.0  # Without a nack for so long, the queue has room again.
# A message that the broker's side of the connection cannot stand closes it so.
_POISON = {501, 502, 503, 505, 540, 541}
_NACKED = (
    "a queue refuses events (basic.nack): it is full, or has lost its majority",
    "Let its consumers catch up, or raise its max-length; events wait in the outbox.",
)


class Carrier(threading.Thread):
    """
    Keeps one connection, and on it one channel for the stream of events.

    A second channel takes what is sent alone, so that a refusal there hurts nobody.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        settings: Settings,
        *,
        report: Callable[[list[Outcome]], None],
        turn: Callable[[bool, str], None],
    ) -> None:
        super().__init__(name="strangler-rabbitmq", daemon=True)
        self.inbox: deque[Sequence[Outgoing]] = deque()
        self._nodes, self._settings = nodes, settings
        self._report_out, self._turn = report, turn
        self._diary, self._blame = Diary(), Blame()
        self._exchange = Exchange(settings.exchange)
        self._loop = IOLoop()
        self._closing = threading.Event()
        self._connection: Any = None
        self._producer: tracing.Producer | None = None
        self._main: Publisher | None = None
        self._alone: Publisher | None = None
        self._attempts = 0  # To connect: which node is next.
        self._failures = 0  # Since all was well: how long to pause.
        self._blocked = ""
        self._trouble = "connecting"
        self._up_since: float | None = None
        self._doubtful = False  # Being connected proves nothing; a confirm would.
        self._nacked_at: float | None = None

    # From other threads.

    def wake(self) -> None:
        """There is something in the inbox."""
        self._loop.add_callback_threadsafe(self._pump)

    def finish(self, timeout: float) -> None:
        """Close the connection and end the thread."""
        self._closing.set()
        self._loop.add_callback_threadsafe(self._shut_down)
        self.join(timeout)

    # The thread.

    def run(self) -> None:
        quieten_pika()
        with tracing.untraced():
            while not self._closing.is_set():
                try:
                    self._begin()
                    self._loop.start()
                except Exception:
                    # Not even a bug of ours, or of pika's, may end the sending.
                    logger.exception("RabbitMQ: the connection failed unexpectedly.")
                    self._closing.wait(self._pause())
            self._loop.close()

    def _begin(self) -> None:
        """Connect, also after an error in the middle of anything."""
        if self._connection is not None:
            self._drop()
            self._blame.abandon("an unexpected error")
            self._down("an unexpected error; the log has it")
        self._loop.add_callback_threadsafe(self._connect)

    def _shut_down(self) -> None:
        self._turn(False, "closed")
        connection = self._connection
        if connection is None or connection.is_closed:
            self._loop.stop()
            return
        if not connection.is_closing:
            connection.close()
        # A silent broker does not answer that.
        self._loop.call_later(0.5, self._drop)
        self._loop.call_later(0.6, self._loop.stop)

    # Connecting.

    def _connect(self) -> None:
        if self._closing.is_set():
            self._loop.stop()
            return
        self._node = self._nodes[self._attempts % len(self._nodes)]
        self._attempts += 1
        self._connection = pika.SelectConnection(
            self._node.parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
            custom_ioloop=self._loop,
        )

    def _opened(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._was_blocked)
        connection.add_on_connection_unblocked_callback(self._was_unblocked)
        self._producer = tracing.producer(
            self._settings.exchange, self._node.host, self._node.port
        )
        self._loop.call_later(
            self._node.confirm_timeout / TICKS, partial(self._tick, connection)
        )
        self._check(connection)

    def _check(self, connection: Any) -> None:
        if connection is self._connection and connection.is_open:
            self._exchange.check(connection, partial(self._checked, connection))

    def _checked(self, connection: Any, what: str, todo: str) -> None:
        if connection is not self._connection:
            return
        if what:
            self._wait(what, todo)
        elif self._main is None:
            self._main = self._publisher(
                self._main_ready, self._report, self._main_closed
            )

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
        if self._blocked:
            return
        self._trouble = ""
        self._up_since = time.monotonic()
        if not self._doubtful:
            self._diary.well(self._node.shown)
        self._turn(True, "")
        self._pump()

    @property
    def _up(self) -> bool:
        return self._main is not None and self._main.ready and not self._blocked

    def _pause(self) -> float:
        pause: float = min(FIRST_PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)

    # When something is wrong.

    def _lost(self, connection: Any, error: BaseException) -> None:
        """The connection could not be opened, or has ended."""
        if self._closing.is_set():
            self._loop.stop()
        if connection is not self._connection or self._closing.is_set():
            return
        self._connection = None
        what, todo = explain(error, self._node)
        self._diary.trouble(what, todo)
        code = getattr(error, "reply_code", 0)
        if code in _POISON:
            self._suspect(code, getattr(error, "reply_text", ""))
        else:
            self._blame.abandon(what)
        self._down(what)
        self._reconnect()

    def _drop(self) -> None:
        """Leave the connection without waiting for anybody."""
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed:
            return
        abort = getattr(connection, "_terminate_stream", None)
        if abort is not None and connection.is_open:
            # pika's close() would wait for a silent broker's answers.
            abort(pika.exceptions.StreamLostError("given up"))
        elif not connection.is_closing:
            connection.close()

    def _reconnect(self) -> None:
        # The other nodes first, at once; a pause comes after each round.
        full_round = self._attempts % len(self._nodes) == 0
        self._loop.call_later(self._pause() if full_round else 0.0, self._connect)

    def _wait(self, what: str, todo: str) -> None:
        """The connection is fine, but nothing can be sent now."""
        self._diary.trouble(what, todo)
        self._blame.abandon(what)
        self._down(what)
        self._loop.call_later(self._pause(), partial(self._check, self._connection))

    def _down(self, what: str) -> None:
        """Nothing can be sent: whatever is under way is unknown."""
        self._trouble, self._blocked = what, ""
        now = time.monotonic()
        if self._up_since is not None and now - self._up_since >= STEADY:
            self._failures = 0
        self._up_since = None
        main, self._main = self._main, None
        alone, self._alone = self._alone, None
        self._turn(False, what)
        if main is not None:
            self._report_unknown(main.give_up(), what)
        if alone is not None:
            alone.give_up()  # The blame knows it.
        self._report([])
        self._pump()

    def _suspect(self, code: int, reason: str) -> None:
        """The connection was closed for something that was sent over it."""
        if self._alone is not None and self._alone.unconfirmed:
            self._blame.refused(code, reason)
        if self._main is not None and self._main.unconfirmed:
            self._blame.begin(self._main.give_up(), code, reason)

    def _was_blocked(self, connection: object, frame: Any) -> None:
        if connection is not self._connection:
            return
        self._blocked = f"blocked: {frame.method.reason}"
        self._diary.trouble(
            f"{self._node.shown} is {self._blocked}",
            "It takes nothing until it has memory and disk again; events wait.",
        )
        self._turn(False, self._blocked)

    def _was_unblocked(self, connection: object, _frame: object) -> None:
        if connection is not self._connection:
            return
        self._blocked = ""
        if self._up:
            self._main_ready()

    def _tick(self, connection: Any) -> None:
        if connection is not self._connection:
            return
        timeout = self._node.confirm_timeout
        for publisher in (self._main, self._alone):
            if publisher is None:
                continue
            if self._blocked:
                publisher.be_patient()
            elif publisher.overdue():
                what = f"{self._node.shown} confirmed nothing for {timeout:g} s"
                self._doubtful = True
                self._diary.trouble(
                    what,
                    "The node hangs, the network swallows, or a queue has no majority; "
                    "another connection is tried.",
                )
                self._drop()
                self._blame.abandon(what)
                self._down(what)
                self._reconnect()
                return
        self._loop.call_later(timeout / TICKS, partial(self._tick, connection))

    # Sending.

    def _pump(self) -> None:
        if self._blame.hunting and self._up:
            self._send_alone()
        while self.inbox and not (self._blame.hunting and self._up):
            events = self.inbox.popleft()
            if not self._up or self._main is None:
                self._report_unknown(events, self._blocked or self._trouble)
                continue
            if self._blame.watchful:
                events = self._blame.sift(events)
                self._report([])
            self._main.publish(events)
            self._send_alone()

    def _report(self, outcomes: list[Outcome]) -> None:
        if self._blame.outcomes:
            outcomes = self._blame.outcomes + outcomes
            self._blame.outcomes = []
        if not outcomes:
            return
        last = outcomes[-1]
        if last.kind is Kind.UNKNOWN:
            if last.reason.startswith("nacked"):
                self._nacked_at = time.monotonic()
                self._diary.trouble(*_NACKED)
        elif self._failures or self._doubtful or self._nacked_at is not None:
            self._prove(last.kind)
        self._report_out(outcomes)

    def _prove(self, kind: Kind) -> None:
        # A rejection proves nothing.
        if kind is Kind.REJECTED or not self._up:
            return
        self._failures, self._doubtful = 0, False
        # A queue that is full takes one now and then: that is not well yet.
        if self._nacked_at is None or time.monotonic() - self._nacked_at > QUIET:
            self._nacked_at = None
            self._diary.well(self._node.shown)

    def _report_unknown(self, events: Sequence[Outgoing], reason: str) -> None:
        if events:
            self._report_out(
                [Outcome(each.row, Kind.UNKNOWN, reason) for each in events]
            )

    def _main_closed(self, code: int, reason: str, events: list[Outgoing]) -> None:
        self._main = None
        if code == 404:
            self._report_unknown(events, reason)
            self._refused_all(reason)
            return
        self._blame.begin(events, code, reason)
        self._go_on()

    def _refused_all(self, reason: str) -> None:
        self._doubtful = True
        self._wait(
            f"{self._node.shown} refuses every event: {reason}",
            "Create what is missing, or give the user write permission to the "
            "exchange; events wait.",
        )

    def _go_on(self) -> None:
        """After a refusal, look at what the blame says."""
        if self._blame.trouble:
            trouble, self._blame.trouble = self._blame.trouble, ""
            self._report([])
            self._refused_all(trouble)
            return
        self._report([])
        if self._main is None:
            self._main = self._publisher(
                self._main_ready, self._report, self._main_closed
            )
        else:
            self._pump()

    def _send_alone(self) -> None:
        if not self._blame.pending or not self._up:
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
            self._report([])
            if event is not None:
                self._alone.publish([event])
            elif self.inbox:
                self._pump()

    def _alone_outcomes(self, outcomes: list[Outcome]) -> None:
        self._blame.passed()
        self._report(outcomes)
        self._send_alone()

    def _alone_closed(self, code: int, reason: str, _events: list[Outgoing]) -> None:
        self._alone = None
        if code == 404:
            self._refused_all(reason)
            return
        self._blame.refused(code, reason)
        self._go_on()
        self._send_alone()
