"""A panel for django-debug-toolbar: what this request published, what flags said."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponse

from django_strangler import extending
from django_strangler.events import Event

MOST = 200  # Events that are listed of one request.


@dataclass(slots=True)
class _Seen:
    events: list[dict[str, str]] = field(default_factory=list)
    more: int = 0
    answers: Counter[tuple[str, bool, str]] = field(default_factory=Counter)


# A value that can change: code in another thread has a copy of the context.
_seen: ContextVar[_Seen | None] = ContextVar("strangler_toolbar", default=None)


class StranglerPanel(Panel):
    """
    This request's events and answers of flags; add it to ``DEBUG_TOOLBAR_PANELS``.

    It shows no payloads, for those may be anybody's.
    """

    title = "Strangler"
    template = "django_strangler/toolbar.html"
    is_async = True

    @property
    def nav_subtitle(self) -> str:
        """Both counts, for the side bar."""
        stats = self.get_stats()  # type: ignore[no-untyped-call]
        events = len(stats.get("events", ())) + stats.get("more", 0)
        answers = sum(each["times"] for each in stats.get("answers", ()))
        return f"events: {events}, answers of flags: {answers}"

    @classmethod
    def ready(cls) -> None:
        """Listen, once the toolbar is there."""
        if _note_event not in extending.validators:
            extending.validators.append(_note_event)
            extending.flag_watchers.append(_note_answer)

    def enable_instrumentation(self) -> None:
        """A request begins."""
        _seen.set(_Seen())

    def disable_instrumentation(self) -> None:
        """A request is over; what was seen is kept until its stats are made."""
        self._of_request = _seen.get() or _Seen()
        _seen.set(None)

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Hand over what was seen, as plain values."""
        seen = self._of_request
        answers: list[dict[str, Any]] = [
            {"flag": flag, "enabled": enabled, "reason": reason, "times": times}
            for (flag, enabled, reason), times in seen.answers.items()
        ]
        self.record_stats(  # type: ignore[no-untyped-call]
            {"events": seen.events, "more": seen.more, "answers": answers}
        )


def _note_event(event: Event) -> None:
    seen = _seen.get()
    if seen is None:
        return
    if len(seen.events) >= MOST:
        seen.more += 1
        return
    seen.events.append(
        {
            "type": event.type,
            "key": str(event.key or ""),
            "id": str(event.id),
            "correlation_id": event.correlation_id or "",
        }
    )


def _note_answer(flag: str, enabled: bool, reason: str) -> None:
    seen = _seen.get()
    if seen is not None:
        seen.answers[flag, enabled, reason] += 1
