"""What a test has published: read from the outbox, compared, and told apart."""

from __future__ import annotations

import difflib
import json
import pprint
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, overload

from django.conf import settings
from django.db import router
from django.db.models import Max, QuerySet
from django.test.utils import TestContextDecorator, override_settings

from django_strangler import extending
from django_strangler.brokers.patterns import matches
from django_strangler.events import JSON, Event, Header, Key, key_text
from django_strangler.exceptions import InvalidPayload
from django_strangler.outbox.encoding import encode
from django_strangler.outbox.models import OutboxEvent
from django_strangler.printable import times

ANYTHING: Any = object()
AssertPublished: TypeAlias = Callable[..., Event]
_SHOWN = 10  # Events in one message.


class PublishedEvents(Sequence[Event]):
    """
    The events in the outbox, oldest first, as a sequence of ``Event`` values.

    It reads the table each time it is looked at. What rolled back is not there.
    """

    def __init__(self, using: str | None = None) -> None:
        self._using = using
        self._after = 0

    def using(self, alias: str) -> PublishedEvents:
        """The events in another database."""
        return PublishedEvents(alias)

    def clear(self) -> None:
        """Forget what was published so far; the rows stay."""
        self._after = self._rows().aggregate(last=Max("id"))["last"] or self._after

    def of_type(self, pattern: str | type) -> list[Event]:
        """The events whose type matches ``payment.*``; of a class, with their data."""
        if isinstance(pattern, str):
            return [event for event in self if matches(pattern, event.type)]
        contract = extending.contract_of(pattern)
        return [contract.read(event) for event in self.of_type(contract.type)]

    def assert_published(
        self,
        type: object,
        *,
        key: Key = ANYTHING,
        payload: JSON = ANYTHING,
        headers: Mapping[str, Header] = ANYTHING,
        correlation_id: str = ANYTHING,
        count: int | None = None,
    ) -> Event:
        """
        Fail unless such an event was published; return the first one.

        The payload is given as it is to ``publish_event``, and is equal as a whole; so
        is an instance of an event's class, which stands for both, as its class does for
        the type.
        ``unittest.mock.ANY`` stands for any value in it. Of the headers those given
        have to be there. With ``count``, there have to be exactly that many.
        """
        __tracebackhide__ = True
        if not isinstance(type, str):
            type, payload = _of_class(type, payload)
        wanted = _wanted(type, key, payload, headers, correlation_id)
        events = self._events()
        found = [event for event in events if _matches(event, wanted)]
        if found and count in (None, len(found)):
            return found[0]
        raise AssertionError(_difference(wanted, events, found, count))

    def assert_not_published(self, type: str | type, *, key: Key = ANYTHING) -> None:
        """Fail if such an event was published; the type may be a pattern or a class."""
        __tracebackhide__ = True
        found = [
            event
            for event in self.of_type(type)
            if key is ANYTHING or event.key == key_text(key)
        ]
        if found:
            raise AssertionError(
                f"{type} was published, and should not have been:\n{_list(found)}"
            )

    def _rows(self) -> QuerySet[OutboxEvent]:
        alias = self._using or router.db_for_write(OutboxEvent)
        rows = OutboxEvent.objects.using(alias).filter(id__gt=self._after)
        return rows.order_by("id")

    def _events(self) -> list[Event]:
        return [row.as_event() for row in self._rows()]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events())

    def __len__(self) -> int:
        return len(self._events())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._events()[index]

    def __eq__(self, other: object) -> bool:
        return self._events() == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PublishedEvents: {self._events()}>"


class autocommit_allowed(TestContextDecorator):
    """
    Let events be published with no transaction open.

    For a ``with`` block, a test, or a ``TestCase`` class; as a pytest marker it is
    called ``strangler_autocommit``.
    """

    def enable(self) -> None:
        given = getattr(settings, "STRANGLER", None) or {}
        self._override = override_settings(
            STRANGLER={**given, "REQUIRE_TRANSACTION": False}
        )
        self._override.enable()

    def disable(self) -> None:
        self._override.disable()


def _of_class(value: object, payload: JSON) -> tuple[str, JSON]:
    """Type and payload that a class, or an instance, stands for."""
    contract = extending.contract_of(value)
    if isinstance(value, type):
        return contract.type, payload
    return contract.type, contract.rows(value)[-1][1]


def _wanted(
    type: str, key: Key, payload: JSON, headers: Any, correlation_id: str
) -> dict[str, Any]:
    wanted: dict[str, Any] = {"type": type}
    if key is not ANYTHING:
        wanted["key"] = key_text(key)
    if payload is not ANYTHING:
        wanted["payload"] = _as_json(payload)
    if headers is not ANYTHING:
        wanted["headers"] = dict(headers)
    if correlation_id is not ANYTHING:
        wanted["correlation_id"] = str(correlation_id)
    return wanted


def _as_json(payload: JSON) -> JSON:
    """As it comes back from the outbox; what JSON cannot hold compares by itself."""
    if isinstance(payload, Mapping):
        return {name: _as_json(value) for name, value in payload.items()}
    if isinstance(payload, (list, tuple)):
        return [_as_json(value) for value in payload]
    try:
        return json.loads(encode(payload, limit=1 << 62))
    except InvalidPayload:
        return payload  # unittest.mock.ANY, pytest.approx(…), …


def _matches(event: Event, wanted: Mapping[str, Any]) -> bool:
    return all(_seen(event, name, value) == value for name, value in wanted.items())


def _seen(event: Event, name: str, wanted: Any) -> Any:
    """What to compare with the value wanted."""
    if name != "headers":
        return getattr(event, name)
    return {
        header: event.headers[header] for header in wanted if header in event.headers
    }


def _difference(
    wanted: Mapping[str, Any],
    events: Sequence[Event],
    found: Sequence[Event],
    count: int | None,
) -> str:
    type = wanted["type"]
    if found:
        often = times(len(found))
        return f"{type} was published {often}, not {count}:\n{_list(found)}"
    if not events:
        return f"{type} was not published; nothing was."
    alike = [event for event in events if event.type == type]
    if not alike:
        near = difflib.get_close_matches(type, {event.type for event in events}, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"{type} was not published.{hint} These were:\n{_list(events)}"
    # The nearest one last, where the eye is.
    alike.sort(key=lambda event: len(_lines_of_difference(wanted, event)))
    shown = [_lines_of_difference(wanted, event) for event in alike[2::-1]]
    return (
        f"{type} was published {times(len(alike))}, never as wanted "
        "(- wanted, + published):\n\n" + "\n\n".join("\n".join(one) for one in shown)
    )


def _lines_of_difference(wanted: Mapping[str, Any], event: Event) -> list[str]:
    seen = {
        name: _shown(_seen(event, name, value), value) for name, value in wanted.items()
    }
    lines = difflib.ndiff(
        pprint.pformat(dict(wanted), width=60).splitlines(),
        pprint.pformat(seen, width=60).splitlines(),
    )
    return [line.rstrip() for line in lines]


def _shown(seen: Any, wanted: Any) -> Any:
    """What was published, but for what mock.ANY and its like agreed to."""
    if seen == wanted:
        return wanted
    if isinstance(seen, dict) and isinstance(wanted, dict):
        return {name: _shown(value, wanted.get(name)) for name, value in seen.items()}
    return seen


def _list(events: Sequence[Event]) -> str:
    lines = [
        f"  {event.type}{f' of {event.key}' if event.key else ''}: "
        f"{pprint.pformat(event.payload, width=10_000)}"
        for event in events[:_SHOWN]
    ]
    if len(events) > _SHOWN:
        lines.append(f"  … and {len(events) - _SHOWN} more")
    return "\n".join(lines)
