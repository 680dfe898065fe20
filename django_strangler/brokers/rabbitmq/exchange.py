"""The exchange: looked for, declared if it was never there, and compared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika

Done = Callable[[str, str], None]  # What is wrong, and what to do; both empty: nothing.
_KIND = "topic"


class Exchange:
    """What is known about the exchange, over all connections of one broker."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen = False  # From then on it is its owner's, and waited for.
        self._may_declare = True
        self._compared = False

    def check(self, connection: Any, done: Done) -> None:
        """
        See whether events may be sent to it.

        Looking needs no permission, but sees no type either. Declaring it compares the
        type, and needs the permission to configure it, which publishers may well lack.
        """
        _Declare(
            connection,
            self.name,
            passive=True,
            fine=lambda: self._found(connection, done),
            refused=lambda code, text: self._not_found(connection, done, code, text),
        )

    def _found(self, connection: Any, done: Done) -> None:
        self._seen = True
        if self._compared or not self._may_declare:
            done("", "")
        else:
            self._declare(connection, done)

    def _not_found(self, connection: Any, done: Done, code: int, text: str) -> None:
        if code != 404:  # Whoever may not even look can still try to send.
            done("", "")
        elif self._seen or not self._may_declare:
            done(
                f"the exchange {self.name!r} does not exist",
                "Create it (durable, of type topic); it is waited for.",
            )
        else:
            self._declare(connection, done)

    def _declare(self, connection: Any, done: Done) -> None:
        _Declare(
            connection,
            self.name,
            passive=False,
            fine=lambda: self._declared(done),
            refused=lambda code, text: self._not_declared(connection, done, code, text),
        )

    def _declared(self, done: Done) -> None:
        self._seen = self._compared = True
        done("", "")

    def _not_declared(self, connection: Any, done: Done, code: int, text: str) -> None:
        if code == 406:
            self._seen = True
            if "'type'" in text:
                done(
                    f"the exchange {self.name!r} is not of type {_KIND}: {text}",
                    "Name another one in STRANGLER['EXCHANGE'], or replace it.",
                )
                return
            self._compared = True  # Other arguments are its owner's business.
            done("", "")
        elif code == 403:
            self._may_declare = False
            if self._seen:
                done("", "")
            else:
                done(
                    f"the exchange {self.name!r} does not exist, and may not be "
                    "declared",
                    "Create it (durable, of type topic), or give the user the "
                    "permission to configure it; it is waited for.",
                )
        else:
            done(
                f"the exchange {self.name!r} cannot be declared: {text}", "Look at it."
            )


class _Declare:
    """One ``exchange.declare`` on a channel of its own, which a refusal closes."""

    def __init__(
        self,
        connection: Any,
        name: str,
        *,
        passive: bool,
        fine: Callable[[], None],
        refused: Callable[[int, str], None],
    ) -> None:
        self._name, self._passive = name, passive
        self._fine, self._refused = fine, refused
        connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        channel.exchange_declare(
            self._name,
            _KIND,
            passive=self._passive,
            durable=True,
            callback=self._answered,
        )

    def _answered(self, _frame: object) -> None:
        self._channel.close()
        self._fine()

    def _closed(self, _channel: object, error: Exception) -> None:
        # The end of the connection is told elsewhere.
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            self._refused(error.reply_code, error.reply_text)
