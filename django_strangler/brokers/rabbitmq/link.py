"""A connection that is kept: to whichever node answers, and again when it is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pika
from pika.adapters.select_connection import IOLoop

from django_strangler import tracing
from django_strangler.exceptions import BrokerError

from .explain import explain, logger, quieten_pika
from .lenient import LenientConnection
from .urls import Node

FAREWELL = 0.5  # Seconds that RabbitMQ has to answer a goodbye.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Between two attempts to connect, in seconds: doubling, with jitter."""

    first: float = 0.1
    longest: float = 5.0
    steady: float = 5.0  # Up for so long, the next loss starts with the first again.


class Loss(NamedTuple):
    """Why there is no connection."""

    what: str  # For people,
    todo: str  # and what they can do.
    code: int = 0  # RabbitMQ's, if it closed the connection,
    text: str = ""  # and its words.
    error: BaseException | None = None


class Unusable(Exception):
    """A node answers, but something has to be done before the link can be used."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


class Loop(threading.Thread):
    """The thread that pika runs on, for one link or for several."""

    def __init__(self, name: str, begin: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.links: list[Link] = []
        self._begin = begin
        self._io = IOLoop()

    def call(self, callback: Callable[[], None]) -> None:
        """From any thread: do this on the loop's."""
        self._io.add_callback_threadsafe(callback)

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """On the loop's own thread: do this then."""
        self._io.call_later(seconds, callback)

    def finish(self, timeout: float) -> None:
        """From another thread: close the links, and end."""
        self.call(self.shut_down)
        self.join(timeout)

    def run(self) -> None:
        quieten_pika()
        with tracing.untraced():
            self.call(self._begin)
            while True:
                try:
                    self._io.start()
                    break
                except Exception as error:
                    # Not even a bug of ours, or of pika's, may be the end.
                    if not isinstance(error.__context__, OSError):
                        logger.exception(
                            "RabbitMQ: the connection failed unexpectedly."
                        )
                    self._failed(error)
            self._io.close()

    def _failed(self, error: Exception) -> None:
        # pika trips over a peer that accepts and resets at once, as proxies do while
        # nobody is behind them.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        for link in self.links:
            self.call(partial(link.fail, cause))

    def shut_down(self) -> None:
        """On the loop's own thread: close the links, and end."""
        for link in self.links:
            link.close()
        self._io.call_later(FAREWELL, self._drop_all)
        self.stop_if_closed()

    def _drop_all(self) -> None:
        for link in self.links:
            drop(link.connection)
        # In a moment, so that pika closes the sockets.
        self._io.call_later(0.0, self._io.stop)

    def stop_if_closed(self) -> None:
        """End if no link is open, or closing."""
        if not any(link.is_open or link.connection for link in self.links):
            self._io.stop()

    def connect(self, parameters: Any, opened: Any, ended: Any) -> Any:
        """A connection that pika runs on this loop."""
        return LenientConnection(
            parameters,
            on_open_callback=opened,
            on_open_error_callback=ended,
            on_close_callback=ended,
            custom_ioloop=self._io,
        )


class Link:
    """One connection at a time, on a loop's thread, which calls everything here."""

    def __init__(
        self,
        loop: Loop,
        nodes: Sequence[Node],
        *,
        up: Callable[[Any], None],
        down: Callable[[Loss], None],
        prepare: Callable[[Node], None] | None = None,  # May block, and raise.
        pauses: Pauses | None = None,
    ) -> None:
        self.is_open = False  # It is to be connected.
        self.connection: Any = None
        self.node = nodes[0]
        self._loop, self._nodes = loop, nodes
        self._pauses = pauses or Pauses()
        self._on_up, self._on_down, self._prepare = up, down, prepare
        self._attempts = 0  # To connect: which node is next.
        self._failures = 0  # Since all was well: how long to pause.
        self._up_since: float | None = None
        loop.links.append(self)

    def open(self) -> None:
        """Connect, and stay connected."""
        if not self.is_open:
            self.is_open = True
            self._connect()

    def close(self) -> None:
        """Say goodbye, and connect no more."""
        self.is_open = False
        if self.connection is not None:
            part(self.connection)

    def leave(self) -> None:
        """Say goodbye and wait for no answer; ``open`` connects anew."""
        self.is_open, self._up_since = False, None
        self._say_goodbye()

    def renew(self, loss: Loss, *, politely: bool = False) -> None:
        """Give this connection up, and connect again: to the next node if there is."""
        if politely:
            self._say_goodbye()
        else:
            connection, self.connection = self.connection, None
            drop(connection)
        self._ended(loss)

    def fail(self, error: BaseException) -> None:
        """Something unforeseen has happened, perhaps in the middle of anything."""
        if self.is_open:
            self.renew(self._explained(error))

    def prove(self) -> None:
        """It works: after the next loss, begin with the first pause."""
        self._failures = 0

    def _say_goodbye(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            part(connection)
            self._loop.later(FAREWELL, partial(drop, connection))

    def _connect(self) -> None:
        if not self.is_open or self.connection is not None:
            return
        self.node = node = self._nodes[self._attempts % len(self._nodes)]
        self._attempts += 1
        try:
            if self._prepare is not None:
                self._prepare(node)
            self.connection = self._loop.connect(
                node.parameters, self._opened, self._lost
            )
        except Unusable as error:
            self._ended(Loss(error.what, error.todo, error=error))
        except (pika.exceptions.AMQPError, OSError) as error:
            self._lost(None, error)
        except BrokerError as error:
            self._ended(Loss(str(error), "", error=error))

    def _opened(self, connection: Any) -> None:
        if connection is self.connection:
            self._up_since = time.monotonic()
            self._on_up(connection)

    def _lost(self, connection: Any, error: BaseException) -> None:
        """The connection could not be opened, or has ended."""
        if connection is not self.connection:
            return
        self.connection = None
        self._ended(self._explained(error))

    def _explained(self, error: BaseException) -> Loss:
        what, todo = explain(error, self.node)
        code, text = getattr(error, "reply_code", 0), getattr(error, "reply_text", "")
        todo = todo or "It is tried again until it works."
        return Loss(what, todo, code, text, error)

    def _ended(self, loss: Loss) -> None:
        now, since = time.monotonic(), self._up_since
        if since is not None and now - since >= self._pauses.steady:
            self._failures = 0
        self._up_since = None
        if not self.is_open:
            self._loop.stop_if_closed()
            return
        self._on_down(loss)
        # The other nodes first, at once; a pause comes after each round.
        is_round = self._attempts % len(self._nodes) == 0
        self._loop.later(self._pause() if is_round else 0.0, self._connect)

    def _pause(self) -> float:
        doubled = self._pauses.first * 2.0 ** min(self._failures, 10)
        self._failures += 1
        return min(doubled, self._pauses.longest) * random.uniform(0.5, 1.0)


def part(connection: Any) -> None:
    """Say goodbye, unless that is done or nobody would hear it."""
    if not (connection.is_closed or connection.is_closing):
        connection.close()


def drop(connection: Any) -> None:
    """Leave it without waiting for anybody."""
    if connection is None or connection.is_closed:
        return
    terminate = getattr(connection, "_terminate_stream", None)
    if terminate is not None and (connection.is_open or connection.is_closing):
        # pika's close() would wait for a silent broker's answers.
        terminate(pika.exceptions.StreamLostError("given up"))
    else:
        part(connection)
