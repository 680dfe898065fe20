"""A channel in confirm mode: what it carries, and what RabbitMQ says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import pika

T = TypeVar("T")

TICKS = 4  # Per confirm timeout: how often ``is_late`` is asked.
LISTENS = 4  # Per span of silence: how often ``is_silent`` is.


class Confirms(ABC, Generic[T]):
    """
    Gives each message its tag, and tells which of them a confirm is about.

    Confirms come in any order, one by one or for all up to a tag.
    """

    def __init__(
        self,
        connection: Any,
        *,
        ready: Callable[[], None],
        closed: Callable[[int, str, list[T]], None],
    ) -> None:
        self.ready = False
        self.given_up = False
        self.unconfirmed: dict[int, T] = {}
        self._on_ready, self._on_closed = ready, closed
        self._tag = 0  # The last one given.
        self._oldest = 1  # No lower one is unconfirmed.
        self._marks: deque[int] = deque(maxlen=TICKS)
        self._heard = True  # A confirm, since it was last asked for.
        self._silent = 0  # So often in a row there was none.
        self._channel = connection.channel(on_open_callback=self._opened)

    @abstractmethod
    def settled(self, messages: list[T], *, refused: bool) -> None:
        """The queues have taken these, in this order; or one of them refuses."""

    @abstractmethod
    def returned(self, method: Any, properties: Any, body: bytes) -> None:
        """No queue wants this one: told before its confirm, which comes as well."""

    def add(self, message: T) -> int:
        """It is sent next; its tag."""
        self._tag += 1
        self.unconfirmed[self._tag] = message
        return self._tag

    def is_late(self) -> bool:
        """
        Whether something has been unconfirmed for the confirm timeout.

        Asked ``TICKS`` times in that span, so that no time is kept per message.
        """
        while self._oldest <= self._tag and self._oldest not in self.unconfirmed:
            self._oldest += 1
        late = len(self._marks) == TICKS and self._oldest <= self._marks[0]
        self._marks.append(self._tag)
        return late and bool(self.unconfirmed)

    def is_silent(self) -> bool:
        """Whether nothing was confirmed for a while, with something under way."""
        heard, self._heard = self._heard, False
        self._silent = 0 if heard or not self.unconfirmed else self._silent + 1
        return self._silent >= LISTENS

    def be_patient(self) -> None:
        """Begin the confirm timeout anew."""
        self._marks.clear()
        self._heard = True

    def give_up(self, error: str = "unknown") -> list[T]:
        """Report nothing any more; returns what is unconfirmed, in order."""
        self.given_up, self.ready = True, False
        messages, self.unconfirmed = list(self.unconfirmed.values()), {}
        if self._channel.is_open:
            self._channel.close()
        return messages

    def _opened(self, channel: Any) -> None:
        if self.given_up:
            channel.close()
            return
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(lambda _channel, *told: self.returned(*told))
        channel.confirm_delivery(self._confirmed, callback=self._selected)

    def _selected(self, _frame: object) -> None:
        if not self.given_up:
            self.ready = True
            self._on_ready()

    def _confirmed(self, frame: Any) -> None:
        self._heard = True
        method = frame.method
        tag: int = method.delivery_tag
        tags: Sequence[int] = (tag,)
        if method.multiple:
            tag = tag or self._tag  # 0 stands for all.
            tags = range(self._oldest, tag + 1)
            self._oldest = tag + 1
        pop = self.unconfirmed.pop
        found = (pop(each, None) for each in tags)
        messages = [message for message in found if message is not None]
        if messages:
            self.settled(messages, refused=isinstance(method, pika.spec.Basic.Nack))

    def _closed(self, _channel: object, error: Exception) -> None:
        # The end of the connection and our own closing are told elsewhere.
        if not self.given_up and isinstance(
            error, pika.exceptions.ChannelClosedByBroker
        ):
            code = error.reply_code
            self._on_closed(code, error.reply_text, self.give_up(str(code)))
