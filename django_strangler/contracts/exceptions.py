"""What can go wrong with a contract."""

from __future__ import annotations

from django_strangler.exceptions import StranglerError


class InvalidContract(StranglerError):
    """An event, a reader or an upcaster cannot be declared like this."""


class Unreadable(StranglerError):
    """An event does not hold what its typed subscriber reads; trying again is vain."""


class CannotJudge(StranglerError):
    """A file of the contracts cannot be read, or says what the rules do not know."""
