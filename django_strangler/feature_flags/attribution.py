"""Who changes flags, and why: known at the door, written down with the change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

# A user, or a name for what is no user: "deploy script".
Author: TypeAlias = "AbstractBaseUser | AnonymousUser | str | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Text only: it outlives the user."""

    by: str = ""
    by_id: str = ""
    why: str = ""


MAX_WHY = 500  # Characters: it is a line of the history.

NOBODY = Attribution()

_current: ContextVar[Attribution] = ContextVar("strangler_flags", default=NOBODY)


def current() -> Attribution:
    """Whom the next change is written down for."""
    return _current.get()


@contextmanager
def attributed_to(by: Author = None, why: str = "") -> Iterator[None]:
    """
    Write down who and why for every change of flags in this block.

    For changes through the ORM; ``set_rollout`` and the like take ``by`` and ``why``.
    """
    outer = _current.get()
    who = Attribution(by=outer.by, by_id=outer.by_id) if by is None else _who(by)
    attribution = Attribution(
        by=who.by, by_id=who.by_id, why=_clean(str(why))[:MAX_WHY] or outer.why
    )
    token = _current.set(attribution)
    try:
        yield
    finally:
        _current.reset(token)


def _who(by: AbstractBaseUser | AnonymousUser | str) -> Attribution:
    if isinstance(by, str):
        return Attribution(by=_clean(by)[:255])
    pk = "" if by.pk is None else str(by.pk)
    return Attribution(by=_clean(by.get_username())[:255], by_id=pk[:255])


def _clean(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
