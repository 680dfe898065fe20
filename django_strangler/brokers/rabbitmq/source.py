"""Deliveries from RabbitMQ: connected, and connected again."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pika

from django_strangler.brokers.base import Delivery, Source, WorkQueue
from django_strangler.conf import Settings
from django_strangler.events import Header
from django_strangler.exceptions import BrokerError

from . import copies, topology
from .courier import Copy
from .diary import Diary, explain, logger, quieten_pika
from .session import Session
from .urls import Node, parse_nodes

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # Between two attempts, in seconds.
STEADY = 5.0  # Up for so long, the next loss starts with the first pause again.
CAREFUL = 2 * topology.DELIVERY_LIMIT  # Sessions in a row that take one at a time.


class RabbitMQSource(Source):
    """Looks after the queues, then runs one session after the other, on a thread."""

    system = "rabbitmq"

    def __init__(
        self, urls: Sequence[str], settings: Settings, queue: WorkQueue
    ) -> None:
        super().__init__(urls, settings, queue)
        self._nodes = itertools.cycle(parse_nodes(self.urls))
        self._diary = Diary()
        self._deliver: Callable[[Delivery], None] = lambda delivery: None
        self._thread = threading.Thread(
            target=self._run, name="strangler-source", daemon=True
        )
        self._session: Session | None = None
        self._closing = threading.Event()
        self._paused = False
        self._ready = False
        self._trouble = "connecting"
        self._refusal = ""
        self._failures = 0
        self._ready_at = 0.0
        self._careful = 0

    def open(self, deliver: Callable[[Delivery], None]) -> None:
        self._deliver = deliver
        self._thread.start()

    def pause(self) -> None:
        self._paused = True
        if session := self._session:
            session.pause()

    def close(self, timeout: float) -> None:
        self._closing.set()
        if session := self._session:
            session.finish()
        if self._thread.ident is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive() and (session := self._session):
            session.abort()
            self._thread.join(2.0)

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def trouble(self) -> str:
        return self._trouble

    @property
    def refusal(self) -> str:
        return self._refusal

    def is_current(self, delivery: Delivery) -> bool:
        session = self._session
        return session is not None and session.number == delivery.session

    def done(self, delivery: Delivery) -> None:
        session = self._session
        if session is not None and session.number == delivery.session:
            session.done(delivery.tag)

    def move(
        self, delivery: Delivery, step: int | None, notes: Mapping[str, Header]
    ) -> None:
        name = self.queue.name
        properties = copies.properties(delivery, notes)
        if properties.type is None:
            properties.type = delivery.routing_key  # Lost on the way back, otherwise.
        copy = Copy(
            delivery.tag,
            topology.dead_name(name)
            if step is None
            else topology.retry_name(name, step),
            properties,
            delivery.body,
        )
        session = self._session
        if session is not None and session.number == delivery.session:
            session.move(copy)

    # The thread.

    def _run(self) -> None:
        quieten_pika()
        for number in itertools.count(1):
            if self._closing.is_set() or self._paused:
                break
            node = next(self._nodes)
            try:
                self._prepare(node)
                self._run_session(number, node)
            except BrokerError as error:
                # The consumer ends of it, and says it.
                self._ready, self._trouble = False, str(error)
                self._refusal = self._trouble
            except (pika.exceptions.AMQPError, OSError) as error:
                self._down(*explain(error, node))
            except Exception:
                logger.exception("RabbitMQ: the connection failed unexpectedly.")
                self._down("an unexpected error; see the log", "It is tried again.")
            session, self._session = self._session, None
            self._suspect(session)
            if not self._closing.is_set():
                self._closing.wait(self._pause())

    def _prepare(self, node: Node) -> None:
        connection = pika.BlockingConnection(node.parameters)
        try:
            topology.prepare(connection, self.queue, self.settings.exchange)
        finally:
            if connection.is_open:
                connection.close()
        # Once: a pattern that is wanted again later must not go again.
        self.queue = replace(self.queue, unbind=())

    def _run_session(self, number: int, node: Node) -> None:
        session = Session(
            number,
            node.parameters,
            self.queue,
            deliver=self._deliver,
            ready=lambda: self._up(node),
            careful=self._careful > 0,
        )
        self._session = session
        if self._closing.is_set() or self._paused:
            return
        session.run()
        if self._closing.is_set():
            return
        if session.error is not None:
            self._down(*explain(session.error, node))
        else:
            self._down(session.reason, "The queues are looked after anew.")

    def _up(self, node: Node) -> None:
        self._ready, self._trouble, self._refusal = True, "", ""
        self._ready_at = time.monotonic()
        self._diary.well(node.shown)

    def _down(self, what: str, todo: str) -> None:
        if self._ready and time.monotonic() - self._ready_at >= STEADY:
            self._failures = 0
        self._ready, self._trouble = False, what
        self._diary.trouble(what, todo)

    def _suspect(self, session: Session | None) -> None:
        """
        Perhaps the first message is one that pika cannot read, which ends a connection.

        Taken alone, it alone is counted by RabbitMQ, which makes it a dead letter after
        some such ends; its neighbours would become dead letters with it.
        """
        if session is None or not session.was_ready or session.delivered:
            self._careful = 0
        else:
            self._careful += 1

    def _pause(self) -> float:
        if 0 < self._careful <= CAREFUL:
            return FIRST_PAUSE
        pause: float = min(FIRST_PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)
