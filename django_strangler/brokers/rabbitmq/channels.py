"""A link's channels: the one that events stream through, and those before it."""

from __future__ import annotations

from django_strangler.brokers.base import Outgoing

from .event_channel import EventChannel


class Channels:
    """Which is used, which is to take its place, and which have confirms to come."""

    def __init__(self) -> None:
        self.main: EventChannel | None = None
        self.next: EventChannel | None = None  # Takes the main one's place.
        self._replaced: list[EventChannel] = []  # With confirms still to come.

    @property
    def all(self) -> list[EventChannel]:
        """Those that may still confirm something, the oldest first."""
        channels = (*self._replaced, self.main, self.next)
        return [channel for channel in channels if channel is not None]

    @property
    def unconfirmed(self) -> list[Outgoing]:
        """What is under way, in order."""
        return [event for each in self.all for event in each.unconfirmed.values()]

    def take_next(self) -> None:
        """The next one is open, and takes the main one's place."""
        if self.main is not None:
            self._replaced.append(self.main)
        self.main, self.next = self.next, None
        self.leave_replaced()

    def leave_replaced(self) -> None:
        """Close those that have nothing more to confirm."""
        for channel in list(self._replaced):
            if not channel.unconfirmed:
                self._replaced.remove(channel)
                channel.give_up()

    def forget(self, channel: EventChannel) -> bool:
        """RabbitMQ has closed it; says whether it was the main one."""
        if channel is self.next:
            self.next = None
        elif channel in self._replaced:
            self._replaced.remove(channel)
        else:
            return True
        return False

    def give_up(self) -> list[Outgoing]:
        """Their connection is lost; returns what is unconfirmed."""
        channels, self.main, self.next = self.all, None, None
        self._replaced = []
        return [event for channel in channels for event in channel.give_up()]

    def withdraw(self, event: Outgoing) -> bool:
        """Whether none has told yet what became of it, and need not any more."""
        return any(channel.withdraw(event) for channel in self.all)

    def be_patient(self) -> None:
        """Begin their confirm timeouts anew."""
        for channel in self.all:
            channel.be_patient()
