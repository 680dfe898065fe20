"""Extending: what apps add to the way of every event. Empty by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol, TypeAlias

from django_strangler.events import JSON, Event, Header, Key
from django_strangler.exceptions import InvalidEvent

# Each is called with each event, when it is published and when it is decoded; one that
# finds the event wrong raises InvalidEvent.
validators: list[Callable[[Event], None]] = []

# Each is called with an event's type and headers, where CloudEvents are written, and
# says what else it knows: more of their attributes.
attributes: list[Callable[[str, Mapping[str, Header]], Mapping[str, Header]]] = []

# Each is called with each answer of a flag: its name, whether it is on, and why. For
# tools of development: it is on the way of every request.
flag_watchers: list[Callable[[str, bool, str], None]] = []

# Names of reserved headers that are an event's own, and not its way's. Each stands for
# those as well that go on with "-" after it.
headers: set[str] = set()

ErrorClass: TypeAlias = "type[BaseException]"
ATTRIBUTE = "__strangler_contract__"  # Where a class has its contract.


class Contract(Protocol):
    """What makes a class an event's: `publish_event(value)`, `subscribe(cls)`."""

    @property
    def type(self) -> str:
        """The type of its events."""

    @property
    def final_errors(self) -> tuple[ErrorClass, ...]:
        """What ``read`` raises, and trying again cannot mend."""

    @property
    def headers(self) -> Mapping[str, Header]:
        """The headers of each of its events."""

    def rows(self, value: Any) -> Sequence[tuple[Contract, JSON]]:
        """What to publish for an instance, as payloads; its own is the last."""

    def check_key(self, key: Key) -> None:
        """Raise InvalidKey for one that is of another kind."""

    def read(self, event: Event) -> Event:
        """The event with its payload as an instance, in ``data``."""


def is_own_header(name: str) -> bool:
    """Whether a reserved header belongs to an event, wherever that came along."""
    return any(name == own or name.startswith(f"{own}-") for own in headers)


def validate(event: Event) -> None:
    """Let every validator look at the event."""
    for check in validators:
        check(event)


def contract_of(value: Any) -> Contract:
    """The contract of a class or its instance; raises InvalidEvent if it has none."""
    found: Contract | None = getattr(value, ATTRIBUTE, None)
    if found is None:
        name = value if isinstance(value, str) else value.__class__.__name__
        raise InvalidEvent(
            f"{name!r} came without a payload. Pass the type and its payload, or an "
            "instance of a class that django_strangler.contracts.event has decorated."
        )
    return found


def typed(
    handler: Callable[[Event], object], contracts: Sequence[Contract]
) -> Callable[[Event], object]:
    """A subscriber's function, whose events of these contracts have their ``data``."""
    by_type = {each.type: each for each in contracts}

    @wraps(handler)
    def handle(event: Event) -> object:
        contract = by_type.get(event.type)
        return handler(event if contract is None else contract.read(event))

    return handle
