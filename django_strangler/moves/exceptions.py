"""What can go wrong with a move. Each message says what to do."""

from __future__ import annotations

from django_strangler.exceptions import StranglerError


class InvalidMove(StranglerError):
    """A move cannot be declared like this."""


class UnknownMove(StranglerError):
    """There is no move of that name, or it is not under way."""


class MoveRefused(StranglerError):
    """A step is refused as things stand. Nothing was changed."""


class MoveClosed(StranglerError):
    """Both sides of a move are closed, and stay so for longer than anybody waits."""


class OutsideMove(StranglerError):
    """A write to a table that is being moved, outside of ``moves.atomic``."""


class Fenced(StranglerError):
    """The side that was written to has been opened, or its move has ended."""


class Busy(StranglerError):
    """A lock could not be had in time: another transaction is long."""
