"""When it is looked why channels confirm nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .channels import Channels
from .confirms import LISTENS, TICKS
from .hunt import Hunt
from .lateness import Lateness
from .link import Link, Loop


class Patience:
    """
    Asks a link's channels, now and then, whether something is late.

    That is what was not confirmed within the confirm timeout. Sooner than that, a
    channel that confirms nothing at all may be blocked by one queue.
    """

    def __init__(
        self,
        loop: Loop,
        link: Link,
        channels: Channels,
        *,
        silence: float,  # After so many seconds it is looked early.
        hunt: Hunt,
        lateness: Lateness,
        is_blocked: Callable[[], bool],
    ) -> None:
        self._loop, self._link, self._channels = loop, link, channels
        self._silence, self._is_blocked = silence, is_blocked
        self._hunt, self._lateness = hunt, lateness
        self._looked_early = False  # Since something was last confirmed.

    def begin(self, connection: Any) -> None:
        """Ask for as long as this is the link's connection."""
        self._tick_later(connection)
        self._listen(connection)

    def _tick_later(self, connection: Any) -> None:
        timeout = self._link.node.confirm_timeout
        self._loop.later(timeout / TICKS, partial(self._tick, connection))

    def _tick(self, connection: Any) -> None:
        if connection is not self._link.connection:
            return
        self._tick_later(connection)
        late = [channel.is_late() for channel in self._channels.all]  # Ask each.
        is_looking = self._lateness.is_on and not self._lateness.is_early
        if self._is_blocked() or self._hunt.is_on:
            self._channels.be_patient()
        elif not any(late) and is_looking:
            self._lateness.abandon()  # It has answered after all.
        elif any(late) and not is_looking:
            self._lateness.begin(self._channels.unconfirmed)

    def _listen(self, connection: Any) -> None:
        if connection is not self._link.connection:
            return
        self._loop.later(self._silence / LISTENS, partial(self._listen, connection))
        main = self._channels.main
        if main is None or not main.is_silent() or self._is_blocked():
            self._looked_early = False
            if self._lateness.is_early:
                self._lateness.abandon()
        elif not (self._looked_early or self._hunt.is_on or self._lateness.is_on):
            self._looked_early = self._lateness.begin(
                self._channels.unconfirmed, early=True
            )
