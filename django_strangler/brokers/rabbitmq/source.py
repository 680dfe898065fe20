"""Deliveries from RabbitMQ: connected, and connected again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django_strangler.announcing import Announcer
from django_strangler.brokers.base import Delivery, Source, WorkQueue
from django_strangler.conf import Settings
from django_strangler.events import Header
from django_strangler.exceptions import BrokerError

from . import copies, declare
from .consuming import MOST_IN_HAND, Rejection, Session
from .copy_channel import Copies, Copy
from .explain import TROUBLE, WELL, logger
from .link import Link, Loop, Loss, Pauses
from .urls import Node, parse_nodes


class RabbitMQSource(Source):
    """Looks after the queues, then runs one session after the other, on a thread."""

    system = "rabbitmq"

    def __init__(
        self,
        urls: Sequence[str],
        settings: Settings,
        queue: WorkQueue,
        *,
        pauses: Pauses | None = None,
    ) -> None:
        super().__init__(urls, settings, queue)
        self._announcer = Announcer(logger)
        self._deliver: Callable[[Delivery], None] = lambda delivery: None
        nodes = parse_nodes(self.urls)
        self._loop = Loop("strangler-source", self._begin)
        self._link = Link(
            self._loop,
            nodes,
            up=self._up,
            down=self._down,
            prepare=self._prepare,
            pauses=pauses,
        )
        self._copies = Copies(
            self._loop,
            nodes,
            sent=self._copied,
            failed=self._failed,
            stalled=self._stalled,
        )
        self._sessions = 0
        self._session: Session | None = None
        self._paused = self._closing = False
        self._ready = False
        self._trouble = "connecting"
        self._refusal = ""

    def open(self, deliver: Callable[[Delivery], None]) -> None:
        self._deliver = deliver
        self._loop.start()

    def pause(self) -> None:
        self._paused = True
        if self._loop.is_alive():
            self._loop.call(self._cancel)

    def close(self, timeout: float) -> None:
        self._paused = self._closing = True
        if not self._loop.is_alive():
            return
        self._loop.call(self._finish)
        self._loop.join(timeout)
        if self._loop.is_alive():
            self._loop.finish(2.0)

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
        self._decide(delivery, delivery.tag)

    def move(
        self, delivery: Delivery, delay: float | None, notes: Mapping[str, Header]
    ) -> None:
        if delay is None and len(delivery.body) > self.settings.max_payload_bytes:
            # Not kept here until a copy of it is confirmed, nor sent twice.
            self._decide(delivery, Rejection(delivery.tag))
            return
        name = self.queue.name
        properties = copies.properties(delivery, notes)
        copy = Copy(
            delivery.session,
            delivery.tag,
            declare.copies_name(name),
            declare.dead_name(name)
            if delay is None
            else declare.retry_name(name, delay),
            properties,
            delivery.body,
        )
        self._decide(delivery, copy)

    def _decide(self, delivery: Delivery, decided: int | Rejection | Copy) -> None:
        session = self._session
        if session is not None and session.number == delivery.session:
            session.decide(decided)

    # The loop's thread.

    def _begin(self) -> None:
        if not self._paused:
            self._link.open()

    def _cancel(self) -> None:
        if self._session is not None:
            self._session.cancel()

    def _finish(self) -> None:
        if self._session is None:
            self._loop.shut_down()
        else:
            self._session.finish(self._loop.shut_down)

    def _prepare(self, node: Node) -> None:
        with declare.connected(node) as connection:
            declare.prepare(connection, self.queue, self.settings.exchange)
        # Once: a pattern that is wanted again later must not go again.
        self.queue = replace(self.queue, unbind=())

    def _up(self, connection: Any) -> None:
        if self._paused:
            return
        self._sessions += 1
        self._session = Session(
            self._sessions,
            self._loop,
            connection,
            self.queue,
            self._copies,
            deliver=self._deliver,
            ready=self._consuming,
            failed=self._failed,
            # However large the bodies are that are allowed.
            prefetch=max(
                1,
                min(
                    self.queue.prefetch,
                    MOST_IN_HAND // self.settings.max_payload_bytes,
                ),
            ),
        )

    def _consuming(self) -> None:
        self._ready, self._trouble, self._refusal = True, "", ""
        self._announcer.all_over(WELL, self._link.node.shown)

    def _copied(self, copy: Copy) -> None:
        session = self._session
        if session is not None and session.number == copy.session:
            session.copied(copy.tag)

    def _stalled(self, what: str) -> None:
        """Deliveries come, and those that fail go nowhere."""
        if what:
            self._ready, self._trouble = False, what
            todo = "Their deliveries stay in hand until then."
            self._announcer.once(what, TROUBLE, what, todo)
        else:
            self._consuming()

    def _failed(self, what: str) -> None:
        """The session cannot go on; with no reason, another may do better."""
        if self._session is not None:
            todo = "The queues are looked after anew."
            self._link.renew(Loss(what, todo), politely=True)

    def _down(self, loss: Loss) -> None:
        self._session = None
        self._copies.forget()
        self._ready, self._trouble = False, loss.what
        if isinstance(loss.error, BrokerError):
            self._refusal = loss.what  # The consumer ends of it, and says it.
        elif loss.what:
            self._announcer.once(loss.what, TROUBLE, loss.what, loss.todo)
        if self._closing:
            self._loop.shut_down()
        elif self._paused:
            self._link.close()
