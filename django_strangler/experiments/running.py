"""What one side did, and how two sides differ."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django_strangler.services import deadline

from .comparing import Difference, Kind, differences, is_ignored
from .effects import Refused
from .isolation import Limits, TimeIsUp, isolated
from .plain import Incomparable, Plain, TooLarge, plain

_SIMPLE = frozenset({type(None), bool, int, float, str})


class Errors(enum.Enum):
    """When two exceptions are the same."""

    BY_CLASS = "class"
    BY_MESSAGE = "message"


class CandidateOutcome(enum.Enum):
    """What became of one candidate."""

    MATCH = "match"
    MISMATCH = "mismatch"
    REFUSED = "refused"  # It wanted what cannot be undone.
    LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What counts as a difference."""

    compare: Callable[[Any, Any], bool] | None = None
    clean: Callable[[Any], Any] | None = None
    ignore: tuple[str, ...] = ()
    errors: Errors = Errors.BY_CLASS


@dataclass(frozen=True, slots=True)
class Seen:
    """What one side did: returned or raised, in which time."""

    seconds: float
    value: Any = None
    error: BaseException | None = None
    raised: str = ""  # The class of the error, or "".
    message: str = ""
    plain: Plain = None
    unreadable: str = ""  # Why there is no plain form.


@dataclass(frozen=True, slots=True)
class Finding:
    """What one candidate showed beside the control."""

    candidate: str
    outcome: CandidateOutcome
    seconds: float
    found: Sequence[Difference] = ()


def call(function: Callable[[], Any]) -> Seen:
    """Call the control: an exception is a result like any other."""
    began = time.perf_counter()
    try:
        value = function()
    except Exception as error:  # noqa: BLE001  Raised anew for the caller.
        return _failed(time.perf_counter() - began, error)
    return Seen(time.perf_counter() - began, value)


def read(seen: Seen, rules: Rules, limits: Limits) -> Seen:
    """Add the plain form of what the control returned."""
    if seen.raised or rules.compare is not None:
        return seen
    if type(seen.value) in _SIMPLE and rules.clean is None:
        return _with_plain(seen.seconds, seen.value, rules)
    try:
        with isolated(limits):
            return _with_plain(seen.seconds, seen.value, rules)
    except Exception as error:  # noqa: BLE001  A clean= that fails, a database that does.
        why = f"It could not be read: {_class(error)}: {error}"
        return Seen(seen.seconds, seen.value, unreadable=why)


def try_out(function: Callable[[], Any], rules: Rules, limits: Limits) -> Seen:
    """
    Call a candidate where nothing of it stays.

    Whatever it raises is kept, SystemExit too; only KeyboardInterrupt gets out.
    """
    began = time.perf_counter()
    try:
        with deadline.within(limits.timeout), isolated(limits):
            value = function()
            # Here, where a queryset sees what the candidate wrote, and is bounded.
            return _with_plain(time.perf_counter() - began, value, rules)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001
        return _failed(time.perf_counter() - began, error)


def judge(
    name: str, control: Seen, candidate: Seen, rules: Rules, timeout: float
) -> Finding:
    """Compare a candidate with the control."""
    seconds = candidate.seconds
    if isinstance(candidate.error, Refused):
        refusal = Difference("/", Kind.REFUSED, None, str(candidate.error))
        return Finding(name, CandidateOutcome.REFUSED, seconds, [refusal])
    if isinstance(candidate.error, TimeIsUp) or seconds > timeout:
        late = Difference("/", Kind.LATE, round(control.seconds, 3), round(seconds, 3))
        return Finding(name, CandidateOutcome.LATE, seconds, [late])
    found = [
        each
        for each in _differences(control, candidate, rules)
        if not is_ignored(each.path, rules.ignore)
    ]
    return Finding(
        name,
        CandidateOutcome.MISMATCH if found else CandidateOutcome.MATCH,
        seconds,
        found,
    )


def _with_plain(seconds: float, value: Any, rules: Rules) -> Seen:
    if rules.compare is not None:
        return Seen(seconds, value)
    try:
        cleaned = value if rules.clean is None else rules.clean(value)
        return Seen(seconds, value, plain=plain(cleaned))
    except (TooLarge, Incomparable) as error:
        return Seen(seconds, value, unreadable=str(error))


def _failed(seconds: float, error: BaseException) -> Seen:
    return Seen(seconds, error=error, raised=_class(error), message=_message(error))


def _differences(control: Seen, candidate: Seen, rules: Rules) -> list[Difference]:
    if control.raised or candidate.raised:
        same = control.raised == candidate.raised and (
            rules.errors is Errors.BY_CLASS or control.message == candidate.message
        )
        told = _told(control), _told(candidate)
        return [] if same else [Difference("/", Kind.ERROR, *told)]
    if rules.compare is not None:
        if rules.compare(control.value, candidate.value):
            return []
        shown = repr(control.value)[:2000], repr(candidate.value)[:2000]
        return [Difference("/", Kind.VALUE, *shown)]
    if control.unreadable or candidate.unreadable:
        why = control.unreadable, candidate.unreadable
        return [Difference("/", Kind.UNREADABLE, *why)]
    return differences(control.plain, candidate.plain)


def _told(seen: Seen) -> str:
    return f"{seen.raised}: {seen.message}" if seen.raised else "returned a value"


def _class(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except Exception:  # noqa: BLE001  A broken __str__ of the candidate's.
        return ""
