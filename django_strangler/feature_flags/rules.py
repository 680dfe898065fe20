"""What a flag may hold: pure functions that return the checked value or raise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from django_strangler.exceptions import (
    InvalidFlagName,
    InvalidPercentage,
    InvalidSalt,
    InvalidSubject,
)
from django_strangler.printable import is_unicode

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser
    from django.db.models import Model

# A user, a user's id, or nobody in particular.
Subject: TypeAlias = "Model | AnonymousUser | int | str | UUID | None"

MAX_NAME = 100
MAX_ID = 255
MAX_NAMED = 10_000  # Ids per list: every process holds them in memory.

# Lower case, because the name travels as the header flag-<name>.
_NAME = re.compile(r"[a-z0-9_-]+")
_SALT = re.compile(r"[A-Za-z0-9._-]+")  # No colon: it ends the salt.
_HUNDREDTH = Decimal("0.01")


def check_name(name: Any) -> str:
    """A slug."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise InvalidFlagName(
            f"{name!r:.120} is not a flag's name. Use lower-case letters, digits, - "
            f'and _, {MAX_NAME} at most: "notifications-v2".'
        )
    return str.__str__(name)


def check_salt(salt: Any) -> str:
    """What stands before the colon in the hashed text."""
    if not isinstance(salt, str) or not _SALT.fullmatch(salt) or len(salt) > MAX_NAME:
        raise InvalidSalt(
            f"{salt!r:.120} is not a salt. Use letters, digits, ., - and _, "
            f"{MAX_NAME} at most; leave it empty for the flag's name."
        )
    return str.__str__(salt)


def check_percentage(value: Any) -> Decimal:
    """From 0 to 100 with two decimals, as nginx has it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise InvalidPercentage(
            f"{value!r:.80} is not a percentage. Pass an int, a str or a Decimal."
        )
    try:
        # A float counts as what it prints: 0.1 is 0.1, and 0.1 + 0.2 is refused.
        number = Decimal(float.__repr__(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise InvalidPercentage(
            f"{value!r:.80} is not a number. Write a percentage as 12.5."
        ) from None
    if not number.is_finite() or not 0 <= number <= 100:
        raise InvalidPercentage(f"{value!s:.80} % does not lie between 0 and 100.")
    rounded = number.quantize(_HUNDREDTH)
    if rounded != number:
        raise InvalidPercentage(
            f"{value!s:.80} % has more than two decimals, which is all that nginx "
            f"knows. The nearest is {rounded}."
        )
    return abs(rounded)  # No negative zero.


def check_ids(values: Any) -> list[str]:
    """Subjects named one by one: their ids as text, each once."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidSubject(f"{values!r:.80} is not a list of ids.")
    ids = sorted({_check_id(value) for value in values})
    if len(ids) > MAX_NAMED:
        raise InvalidSubject(
            f"{len(ids)} ids are too many to name; {MAX_NAMED} is the limit. "
            "Use a percentage, or a flag of its own."
        )
    return ids


def stored_ids(column: Any) -> frozenset[str]:
    """The ids that a row names; one that was written by hand may hold anything."""
    # A number among them would silently name nobody.
    if not isinstance(column, list) or not all(type(each) is str for each in column):
        raise InvalidSubject(f"{column!r:.80} is not a list of ids as text.")
    return frozenset(column)


def _check_id(value: Any) -> str:
    text = subject_text(value)
    if not 0 < len(text) <= MAX_ID or "\x00" in text or not is_unicode(text):
        raise InvalidSubject(
            f"{value!r:.80} cannot be named: the id is empty, longer than {MAX_ID} "
            "characters, or no text that a database can hold."
        )
    return text


def subject_text(user: Subject) -> str:
    """
    The text that a user is hashed and compared by: the primary key; empty for nobody.

    An instance and its id give the same text, whatever else the instance knows.
    """
    kind = type(user)
    if kind is int or kind is str:
        return str(user)
    if user is None:
        return ""
    # Not by type alone: request.user is a lazy object, and ids come as subclasses.
    if isinstance(user, UUID):
        return str(user)
    if isinstance(user, str):
        return str.__str__(user)
    if isinstance(user, int) and not isinstance(user, bool):
        return int.__repr__(user)
    try:
        pk = user.pk  # type: ignore[union-attr]
    except AttributeError:
        raise InvalidSubject(
            f"A flag was asked for {user!r:.80}. Pass a user, a user's id (int, str or "
            "UUID), or None."
        ) from None
    return "" if pk is None else str(pk)
