"""Where two plain values differ. Pure rules."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from .plain import Plain, text_of

TOLERANCE = 1e-9  # Of floats, relative to the larger.
MOST = 50  # Differences of one pair; what differs more, differs altogether.


class Kind(enum.Enum):
    """How two values differ at one place."""

    VALUE = "value"
    TYPE = "type"
    MISSING = "missing"  # The candidate lacks it.
    EXTRA = "extra"  # The control lacks it.
    ORDER = "order"  # The same parts in another order.
    LENGTH = "length"
    ERROR = "error"  # Another exception, or only one side raised.
    UNREADABLE = "unreadable"  # Too large, or to be read only once.
    REFUSED = "refused"  # The candidate wanted what cannot be undone.
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where control and candidate differ."""

    path: str  # "/lines/*/qty": * stands for any place of a list.
    kind: Kind
    control: Plain = None
    candidate: Plain = None


def differences(control: Plain, candidate: Plain) -> list[Difference]:
    """Every place where the candidate differs, up to ``MOST``."""
    found = []
    for each in _compare("", control, candidate):
        found.append(each)
        if len(found) == MOST:
            break
    return found


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names this place or what it lies in; * is any one step."""
    steps = path.split("/")
    return any(
        len(wanted) <= len(steps)
        and all(one in ("*", other) for one, other in zip(wanted, steps, strict=False))
        for wanted in (pattern.rstrip("/").split("/") for pattern in patterns)
    )


def _compare(path: str, one: Plain, two: Plain) -> Iterator[Difference]:
    kinds = _kind(one), _kind(two)
    if kinds == ("dict", "dict"):
        yield from _dicts(path, one, two)
    elif kinds == ("list", "list"):
        yield from _lists(path, one, two)
    elif kinds[0] != kinds[1]:
        yield Difference(path or "/", Kind.TYPE, one, two)
    elif kinds[0] != "number" and isinstance(one, dict):  # Tagged, of one type.
        yield from _tagged(path, one["$"], one["v"], two["v"])
    elif not _same(one, two):
        yield Difference(path or "/", Kind.VALUE, one, two)


def _tagged(path: str, type: str, one: Plain, two: Plain) -> Iterator[Difference]:
    if type in ("set", "rows"):
        yield from _bags(path, one, two)
    elif type == "dict":
        yield from _dicts(path, one, two)
    else:
        yield from _compare(path, one, two)


def _dicts(path: str, one: Plain, two: Plain) -> Iterator[Difference]:
    for key in one:
        if key not in two:
            yield Difference(f"{path}/{_step(key)}", Kind.MISSING, one[key], None)
        else:
            yield from _compare(f"{path}/{_step(key)}", one[key], two[key])
    for key in two:
        if key not in one:
            yield Difference(f"{path}/{_step(key)}", Kind.EXTRA, None, two[key])


def _lists(path: str, one: list[Plain], two: list[Plain]) -> Iterator[Difference]:
    if len(one) != len(two):
        yield Difference(path or "/", Kind.LENGTH, len(one), len(two))
        return
    found = [
        each
        for left, right in zip(one, two, strict=True)
        for each in _compare(f"{path}/*", left, right)
    ]
    if len(found) > 1 and _counted(one) == _counted(two):
        yield Difference(path or "/", Kind.ORDER, one, two)
    else:
        yield from found


def _bags(path: str, one: list[Plain], two: list[Plain]) -> Iterator[Difference]:
    left, right = _counted(one), _counted(two)
    if left == right:
        return
    if len(one) == len(two):  # Sorted: what differs in one field stands side by side.
        yield from _lists(path, one, two)
        return
    for text in (left - right).elements():
        yield Difference(f"{path}/*", Kind.MISSING, text, None)
    for text in (right - left).elements():
        yield Difference(f"{path}/*", Kind.EXTRA, None, text)


def _counted(parts: list[Plain]) -> Counter[str]:
    return Counter(map(text_of, parts))


def _kind(value: Plain) -> str:
    if _number(value) is not None:
        return "number"
    if isinstance(value, dict):
        return f"${value['$']}" if "$" in value else "dict"
    # A SafeString is a text like any other.
    return "str" if isinstance(value, str) else type(value).__name__


def _number(value: Plain) -> Decimal | None:
    """What it is worth, if it is a number of any type."""
    if isinstance(value, dict) and value.get("$") == "decimal":
        return Decimal(value["v"])
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(value)
    return None


def _same(one: Plain, two: Plain) -> bool:
    left, right = _number(one), _number(two)
    if left is None or right is None:
        return bool(one == two)
    if isinstance(one, float) or isinstance(two, float):
        return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return left == right


def _step(key: str) -> str:
    # As JSON Pointer has it, so that a key with a slash is one step.
    return key.replace("~", "~0").replace("/", "~1")[:100]
