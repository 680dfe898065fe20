"""Effects that no database undoes: refused while a candidate runs, unless allowed."""

from __future__ import annotations

import enum
import functools
import http.client
import sys
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

from django.core.cache import caches
from django.core.mail import EmailMessage


class Effect(enum.Enum):
    """What a candidate may be allowed to do, by ``allow=``."""

    MAIL = "mail"
    CACHE = "cache"  # Writes; reading is always allowed.
    HTTP = "http"  # By http.client, and so by urllib, urllib3 and requests.
    TASKS = "tasks"  # Celery's, when they are sent.


class Refused(Exception):
    """The candidate wanted something that cannot be undone."""


_refused: ContextVar[frozenset[Effect]] = ContextVar(
    "strangler_refused_effects", default=frozenset()
)


def refuse(effects: frozenset[Effect]) -> Token[frozenset[Effect]]:
    """Refuse these effects to this thread, or task, until they are permitted again."""
    if _guarded.caches is not caches.settings or not _guarded.tasks:
        _guard_what_is_there()
    return _refused.set(effects)


def permit(token: Token[frozenset[Effect]]) -> None:
    """As it was before."""
    _refused.reset(token)


def install() -> None:
    """Let what sends ask first, once in a process."""
    _ask_first(EmailMessage, "send", Effect.MAIL)
    _ask_first(http.client.HTTPConnection, "putrequest", Effect.HTTP)


@dataclass(slots=True)
class _Guarded:
    """What asks already, beside what was installed."""

    caches: Any = None
    tasks: bool = False


_guarded = _Guarded()


def _guard_what_is_there() -> None:
    # Celery sends by kombu. A process that never imported it sends no tasks.
    messaging = sys.modules.get("kombu.messaging")
    if messaging is not None:
        _ask_first(messaging.Producer, "publish", Effect.TASKS)
        _guarded.tasks = True
    for alias in caches:
        kind = type(caches[alias])
        for name in _WRITES:
            _ask_first(kind, name, Effect.CACHE)
        _compute_only(kind)
    _guarded.caches = caches.settings


def _ask_first(owner: type, name: str, effect: Effect) -> None:
    method: Any = getattr(owner, name)
    if hasattr(method, "asks_for"):
        return

    @functools.wraps(method)
    def asking(self: Any, *args: Any, **options: Any) -> Any:
        if effect in _refused.get():
            raise _refusal(effect)
        return method(self, *args, **options)

    asking.asks_for = effect  # type: ignore[attr-defined]
    setattr(owner, name, asking)


def _refusal(effect: Effect) -> Refused:
    what = {
        Effect.MAIL: "send a mail",
        Effect.CACHE: "write to the cache",
        Effect.HTTP: "make an HTTP request",
        Effect.TASKS: "send a task",
    }[effect]
    return Refused(
        f"The candidate wanted to {what}, which cannot be undone. Leave it out, or "
        f"allow it: allow={{{effect.value!r}}}."
    )


_WRITES = frozenset(
    prefix + name
    for prefix in ("", "a")
    for name in (
        "add",
        "set",
        "touch",
        "delete",
        "set_many",
        "delete_many",
        "clear",
        "incr",
        "decr",
        "incr_version",
        "decr_version",
    )
)


def _compute_only(kind: Any) -> None:
    """Let get_or_set() answer without keeping anything, where writing is refused."""
    method = kind.get_or_set
    if hasattr(method, "asks_for"):
        return

    @functools.wraps(method)
    def computing(self: Any, key: Any, default: Any, *args: Any, **options: Any) -> Any:
        if Effect.CACHE not in _refused.get():
            return method(self, key, default, *args, **options)
        missing = object()
        found = self.get(key, missing, version=options.get("version"))
        if found is not missing:
            return found
        return default() if callable(default) else default

    computing.asks_for = Effect.CACHE  # type: ignore[attr-defined]
    kind.get_or_set = computing
