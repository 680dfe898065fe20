"""What a delivery's headers say of the times that it failed."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django_strangler import conf
from django_strangler.brokers.base import Delivery
from django_strangler.events import Header
from django_strangler.printable import printable


class Reason(enum.Enum):
    """Why a delivery is a dead letter, or waits to come again."""

    UNREADABLE = "unreadable"  # It is not an event.
    MISLABELLED = "mislabelled"  # Its type is not its routing key.
    UNTRUSTED = "untrusted"  # Its publisher may not say this.
    CONFLICT = "another content"  # Its id stands for an event that was handled.
    NO_SUBSCRIBER = "no subscriber"
    NEWER = "for another version"  # A consumer with more subscribers is to have it.
    FAILED = "failed"


PREFIX = "strangler-failed-"
_LONGEST = 2000  # Characters of an error.


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How often it failed since it was put into the queue, and when it first did."""

    times: int = 0
    first: datetime | None = None
    last: datetime | None = None
    reason: str = ""
    error: str = ""
    given_up: tuple[str, ...] = ()  # Subscribers that are not called for it any more.

    @classmethod
    def of(cls, delivery: Delivery) -> Record:
        """Only a copy has failed before, whatever a publisher writes into headers."""
        return cls.read(delivery.headers) if delivery.is_copy else NEVER

    @classmethod
    def read(cls, headers: Mapping[Any, Any]) -> Record:
        """What the headers hold, also when they are forged."""
        times = headers.get(f"{PREFIX}times")
        return cls(
            times=times if type(times) is int and times > 0 else 0,
            first=_moment(headers.get(f"{PREFIX}first")),
            last=_moment(headers.get(f"{PREFIX}last")),
            reason=_text(headers.get(f"{PREFIX}reason")),
            error=_text(headers.get(f"{PREFIX}error")),
            given_up=tuple(_text(headers.get(f"{PREFIX}given-up")).split()),
        )

    def notes(
        self,
        reason: Reason,
        error: str,
        *,
        given_up: tuple[str, ...] = (),
        counts: bool = True,
    ) -> dict[str, Header]:
        """The headers after it has failed once more, or has been passed on."""
        now = datetime.now(timezone.utc)
        notes: dict[str, Header] = {
            f"{PREFIX}times": self.times + counts,
            f"{PREFIX}first": (self.first or now).isoformat(timespec="microseconds"),
            f"{PREFIX}last": now.isoformat(timespec="microseconds"),
            f"{PREFIX}reason": reason.value,
            f"{PREFIX}error": error.encode(errors="replace").decode()[:_LONGEST],
        }
        if given_up:
            notes[f"{PREFIX}given-up"] = " ".join(given_up)
        return notes


NEVER = Record()  # It has not failed.


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def failure(subscriber: str, error: BaseException) -> str:
    """Who failed, and of what."""
    return f"{subscriber}: {type(error).__name__}: {message(error)}"


def message(error: BaseException) -> str:
    """What the error says, on one line; a subscriber's may be broken itself."""
    # One that was never raised is ours, and its words too.
    if error.__traceback__ is not None and not conf.current().may_quote_errors:
        (frame,) = traceback.extract_tb(error.__traceback__, limit=-1)
        return f"in {frame.name}, {frame.filename}:{frame.lineno}"
    try:
        return printable(error, most=_LONGEST)
    except Exception:  # noqa: BLE001
        return "(an error that cannot be shown)"


def to_log(error: BaseException) -> BaseException | None:
    """As ``exc_info`` of a log line: none where its text may not be kept."""
    return error if conf.current().may_quote_errors else None
