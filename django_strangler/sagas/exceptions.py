"""What can go wrong with a saga."""

from __future__ import annotations

from django_strangler.exceptions import StranglerError
from django_strangler.inbox.trust import Untrusted


class InvalidSaga(StranglerError):
    """A saga, a step or a participant cannot be defined like this."""


class UnknownSaga(StranglerError):
    """No code, or no row, is there for a saga that is spoken of."""


class Forged(Untrusted):
    """A reply or a timeout was not sent by the one who may send it: a dead letter."""


class Refused(Exception):
    """
    A participant will not do what it was asked: no stock, no money. Raise it.

    What it has written is rolled back, and the steps before it are undone. Any
    other exception is trouble that may pass: the command is tried again.
    """
