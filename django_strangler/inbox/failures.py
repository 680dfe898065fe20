"""What a delivery's headers say of the times that it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django_strangler.events import Header

UNREADABLE, NO_SUBSCRIBER, FAILED = "unreadable", "no subscriber", "failed"
_PREFIX = "strangler-failed-"
_LONGEST = 2000  # Characters of an error.


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How often it failed since it was put into the queue, and when it first did."""

    times: int = 0
    first: datetime | None = None
    last: datetime | None = None
    reason: str = ""
    error: str = ""

    @classmethod
    def read(cls, headers: Mapping[Any, Any]) -> Record:
        """Whatever the headers hold, also when somebody forged them."""
        times = headers.get(f"{_PREFIX}times")
        reason, error = headers.get(f"{_PREFIX}reason"), headers.get(f"{_PREFIX}error")
        return cls(
            times=times if type(times) is int and times > 0 else 0,
            first=_moment(headers.get(f"{_PREFIX}first")),
            last=_moment(headers.get(f"{_PREFIX}last")),
            reason=reason if isinstance(reason, str) else "",
            error=error if isinstance(error, str) else "",
        )

    def notes(self, reason: str, error: str) -> dict[str, Header]:
        """The headers after it has failed once more."""
        now = datetime.now(timezone.utc)
        return {
            f"{_PREFIX}times": self.times + 1,
            f"{_PREFIX}first": (self.first or now).isoformat(timespec="microseconds"),
            f"{_PREFIX}last": now.isoformat(timespec="microseconds"),
            f"{_PREFIX}reason": reason,
            f"{_PREFIX}error": error.encode(errors="replace").decode()[:_LONGEST],
        }


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def shown(subscriber: str, error: BaseException) -> str:
    """Who failed, and of what."""
    return f"{subscriber}: {type(error).__name__}: {said(error)}"


def said(error: BaseException) -> str:
    """What the error says; a subscriber's may be broken itself."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001
        return "(an error that cannot be shown)"
