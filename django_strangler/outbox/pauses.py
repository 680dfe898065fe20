"""Pausing: what a person wants no relay to send, until it is resumed."""

from __future__ import annotations

from django_strangler.clock import DatabaseNow
from django_strangler.exceptions import InvalidEvent

from . import rules
from .models import Pause

MOST = 1000  # At once; each relay keeps them in memory.


def pause(
    scope: Pause.Scope, name: str = "", *, by: str = "", why: str = "", using: str
) -> Pause:
    """
    Let no relay send a type, a key or anything; it takes two seconds to get around.

    What is under way arrives all the same. Events of a paused type hold the later ones
    of their keys. What is paused already stays as it is.
    """
    check(scope, name, using=using)
    active = Pause.objects.using(using).filter(ended_at=None)
    same = [each for each in active.filter(scope=scope) if each.name == name]
    if same:
        return same[0]
    return Pause.objects.using(using).create(
        scope=scope, name=name, by=by[:255], why=why[:255], since=DatabaseNow()
    )


def check(scope: Pause.Scope, name: str, *, using: str) -> None:
    """Raise InvalidEvent, with the reason, for what cannot be paused."""
    if scope == Pause.Scope.TYPE:
        rules.check_type(name)
    elif bool(name) is (scope == Pause.Scope.ALL):
        raise InvalidEvent("A pause names a type, or a key, or is of everything.")
    if Pause.objects.using(using).filter(ended_at=None).count() >= MOST:
        raise InvalidEvent(f"{MOST} pauses are active; resume some, or pause a type.")


def resume(scope: Pause.Scope, name: str = "", *, by: str = "", using: str) -> bool:
    """Let it be sent again; False if it was not paused. The row stays as history."""
    active = Pause.objects.using(using).filter(ended_at=None, scope=scope)
    rows = [each.pk for each in active if each.name == name]
    return bool(
        active.filter(pk__in=rows).update(ended_at=DatabaseNow(), ended_by=by[:255])
    )
