"""The thread that all of pika runs on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from django_strangler import tracing
from django_strangler.brokers.base import Kind, Outcome, Outgoing
from django_strangler.conf import Settings

from .diary import Diary, explain, logger, quieten_pika
from .exchange import Exchange
from .publisher import TICKS
from .stream import Stream
from .urls import Node

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # Between two attempts, in seconds.
STEADY = 5.0  # Up for so long, the next loss starts with the first pause again.
QUIET = 15.0  # Without a nack for so long, the queue has room again.
# A channel that was refused by a full quorum queue may be refused for ever, though the
# limit is gone (RabbitMQ 3.10); a new one is not.
RENEW = 30.0
_NACKED = (
    "a queue refuses events (basic.nack): it is full, or has lost its majority",
    "Let its consumers catch up, or raise its max-length; events wait in the outbox.",
)


class Carrier(threading.Thread):
    """Keeps one connection, to whichever node answers, and the stream over it."""

    def __init__(
        self,
        nodes: Sequence[Node],
        settings: Settings,
        *,
        report: Callable[[list[Outcome]], None],
        turn: Callable[[bool, str], None],
    ) -> None:
        super().__init__(name="strangler-rabbitmq", daemon=True)
        self._nodes, self._settings = nodes, settings
        self._report_out, self._turn = report, turn
        self._diary = Diary()
        self._exchange = Exchange(settings.exchange)
        self._stream = Stream(
            settings, report=self._report, ready=self._ready, refused=self._refused
        )
        self._loop = IOLoop()
        self._closing = threading.Event()
        self._connection: Any = None
        self._producer: tracing.Producer | None = None
        self._attempts = 0  # To connect: which node is next.
        self._failures = 0  # Since all was well: how long to pause.
        self._up_since: float | None = None
        self._doubtful = False  # Being connected proves nothing; a confirm would.
        self._nacked_at: float | None = None
        self._renew_at = 0.0  # If there still are nacks then, connect anew.

    # From other threads.

    def send(self, events: Sequence[Outgoing]) -> None:
        """Hand over a batch; one wake-up for all of it."""
        self._stream.inbox.append(events)
        self._loop.add_callback_threadsafe(self._stream.pump)

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
                except Exception as error:
                    # Not even a bug of ours, or of pika's, may end the sending.
                    if isinstance(error.__context__, OSError):
                        # pika trips over a peer that accepts and resets at once, as
                        # proxies do while nobody is behind them.
                        self._diary.trouble(*explain(error.__context__, self._node))
                    else:
                        logger.exception(
                            "RabbitMQ: the connection failed unexpectedly."
                        )
                    self._closing.wait(self._pause())
            self._loop.close()

    def _begin(self) -> None:
        """Connect, also after an error in the middle of anything."""
        if self._connection is not None:
            self._drop()
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
        else:
            self._stream.open(connection, self._producer)

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
        self._down(
            what, getattr(error, "reply_code", 0), getattr(error, "reply_text", "")
        )
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
        self._down(what)
        self._loop.call_later(self._pause(), partial(self._check, self._connection))

    def _down(self, what: str, code: int = 0, reason: str = "") -> None:
        """Nothing can be sent until further notice."""
        now = time.monotonic()
        if self._up_since is not None and now - self._up_since >= STEADY:
            self._failures = 0
        self._up_since = None
        self._turn(False, what)
        self._stream.down(what, code, reason)

    def _was_blocked(self, connection: object, frame: Any) -> None:
        if connection is not self._connection:
            return
        blocked = f"blocked: {frame.method.reason}"
        self._diary.trouble(
            f"{self._node.shown} is {blocked}",
            "It takes nothing until it has memory and disk again; events wait.",
        )
        self._turn(False, blocked)
        self._stream.block(blocked)

    def _was_unblocked(self, connection: object, _frame: object) -> None:
        if connection is self._connection:
            self._stream.block("")

    def _tick(self, connection: Any) -> None:
        if connection is not self._connection:
            return
        timeout = self._node.confirm_timeout
        if self._stream.overdue():
            what = f"{self._node.shown} confirmed nothing for {timeout:g} s"
            self._doubtful = True
            self._diary.trouble(
                what,
                "The node hangs, the network swallows, or a queue has no majority; "
                "another connection is tried.",
            )
            self._renew(what)
            return
        now = time.monotonic()
        if now > self._renew_at and self._is_refused(now):
            self._renew_at = now + RENEW
            self._renew(_NACKED[0])
            return
        self._loop.call_later(timeout / TICKS, partial(self._tick, connection))

    def _renew(self, what: str) -> None:
        self._drop()
        self._down(what)
        self._reconnect()

    # Of the stream.

    def _report(self, outcomes: list[Outcome]) -> None:
        last = outcomes[-1]
        if last.kind is Kind.UNKNOWN:
            if last.reason.startswith("nacked"):
                now = time.monotonic()
                if not self._is_refused(now):
                    self._renew_at = now + RENEW
                self._nacked_at = now
                self._diary.trouble(*_NACKED)
        elif self._failures or self._doubtful or self._nacked_at is not None:
            self._prove(last.kind)
        self._report_out(outcomes)

    def _prove(self, kind: Kind) -> None:
        # A rejection proves nothing.
        if kind is Kind.REJECTED or not self._stream.up:
            return
        self._failures, self._doubtful = 0, False
        # A queue that is full takes one now and then: that is not well yet.
        if not self._is_refused(time.monotonic()):
            self._nacked_at = None
            self._diary.well(self._node.shown)

    def _is_refused(self, now: float) -> bool:
        """Whether there was a nack just now, or a while ago."""
        return self._nacked_at is not None and now - self._nacked_at <= QUIET

    def _ready(self) -> None:
        self._up_since = time.monotonic()
        if not self._doubtful and self._nacked_at is None:
            self._diary.well(self._node.shown)
        self._turn(True, "")

    def _refused(self, reason: str) -> None:
        self._doubtful = True
        self._wait(
            f"{self._node.shown} refuses every event: {reason}",
            "Create what is missing, or give the user write permission to the "
            "exchange; events wait.",
        )
