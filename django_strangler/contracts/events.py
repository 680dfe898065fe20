"""A contract: one type of event, as a class, a schema, and both ways between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeAlias

from django_strangler import extending
from django_strangler.events import JSON, Event, Header, Key, key_text
from django_strangler.exceptions import InvalidEvent, InvalidKey, shown

from .exceptions import InvalidContract, Unreadable
from .fitting import misfit
from .schema import Part
from .upcasters import upcasted

# Of an event of a later version than 1; without it, it is 1.
VERSION = "contract-version"

Class: TypeAlias = "type[Any]"


@dataclass(frozen=True, kw_only=True, eq=False)
class Contract:
    """What an event type holds, or, with ``publishes=False``, what a reader reads."""

    type: str
    version: int
    cls: Class
    part: Part
    publishes: bool = True
    key: str = ""  # What the key names: "payments.payment".
    owner: str = ""
    replaces: Contract | None = None
    downcast: Callable[[Any], Any] | None = None
    until: date | None = None
    final_errors: tuple[extending.ErrorClass, ...] = (Unreadable,)

    @property
    def schema(self) -> dict[str, Any]:
        """What its payload looks like."""
        return self.part.schema

    @property
    def headers(self) -> dict[str, Header]:
        """Those of each of its events."""
        return {} if self.version == 1 else {VERSION: self.version}

    def rows(self, value: Any) -> Sequence[tuple[Contract, JSON]]:
        """What to publish for an instance: first what old majors' readers get."""
        if not self.publishes or type(value) is not self.cls:
            raise InvalidEvent(
                f"{shown(value)} cannot be published: its class only says what a "
                "reader reads, or is derived from an event's. Decorate it with @event."
            )
        own = (self, _fields_of(value))
        if self.replaces is None or self.downcast is None:
            return (own,)
        return (*self.replaces.rows(self.downcast(value)), own)

    def check_key(self, key: Key) -> None:
        """Raise InvalidKey for one of another kind: order and sharding go by it."""
        if self.key and not key_text(key).startswith(f"{self.key}:"):
            raise InvalidKey(
                f"{self.type!r} has keys of the kind {self.key!r}, and was given "
                f"{shown(key)}. Pass the instance that the event is about."
            )

    def read(self, event: Event) -> Event:
        """The event with its ``data``, upcasted if it is older; or ``Unreadable``."""
        payload = self.upcasted(event)
        if found := misfit(self.schema, payload):
            raise Unreadable(
                f"{event.type} {event.id} is not what {self.cls.__qualname__} reads: "
                f"payload{found.path} {found.why}."
            )
        return replace(event, data=self.part.load(payload))

    def upcasted(self, event: Event) -> JSON:
        """Its payload, as far as upcasters lead towards this version."""
        given = event.headers.get(VERSION, 1)
        version = given if isinstance(given, int) else 1
        return upcasted(self.type, event.payload, version, self.version)


def _fields_of(value: Any) -> dict[str, Any]:
    try:
        return dict(vars(value))
    except TypeError:  # With slots.
        names = type(value).__dataclass_fields__
        return {name: getattr(value, name) for name in names}


def as_events(value: Any, *, key: Key = None) -> list[Event]:
    """What ``publish_event(value)`` would write, for ``publish_events``."""
    rows = extending.contract_of(value).rows(value)
    for contract, _payload in rows:
        contract.check_key(key)
    return [
        Event(type=each.type, payload=payload, key=key_text(key), headers=each.headers)
        for each, payload in rows
    ]


def contract_of(cls: type) -> Contract:
    """The contract of a class that is decorated; else ``InvalidContract``."""
    found = vars(cls).get(extending.ATTRIBUTE)
    if not isinstance(found, Contract):
        raise InvalidContract(f"{cls!r} is not an event. Decorate it with @event.")
    return found
