"""Declaring: events and what readers read; found in the apps' ``contracts``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from django.apps import apps

from django_strangler import extending
from django_strangler.exceptions import InvalidType
from django_strangler.outbox.rules import check_type

from .events import Contract, contract_of
from .exceptions import CannotJudge, InvalidContract
from .schema import part_of
from .upcasters import place

ClassT = TypeVar("ClassT", bound=type)


class Registry:
    """The contracts of this process."""

    def __init__(self) -> None:
        self.events: dict[str, Contract] = {}
        self.readers: list[Contract] = []
        self._discovered = False
        self._failure = ""

    def add(self, contract: Contract) -> None:
        """Register it, unless another class has its type."""
        if not contract.publishes:
            self.readers.append(contract)
            return
        known = self.events.get(contract.type)
        if known is not None and place(known.cls) != place(contract.cls):
            raise InvalidContract(
                f"Two events are of type {contract.type!r}, {place(known.cls)} and "
                f"{place(contract.cls)}. What a reader reads is declared by @reads."
            )
        self.events[contract.type] = contract

    def discover(self) -> None:
        """Import each app's module ``contracts``, once; ``CannotJudge`` if it fails."""
        if self._failure:
            raise CannotJudge(self._failure)
        if self._discovered:
            return
        for config in apps.get_app_configs():
            module = f"{config.name}.contracts"
            try:
                # The core's is this package.
                if config.name != "django_strangler" and find_spec(module):
                    import_module(module)
            except Exception as error:
                self._failure = f"{module} cannot be imported: {error!r}"
                raise CannotJudge(self._failure) from error
        self._discovered = True

    def sunset(self, type: str) -> date | None:
        """The day until which this type is published at least, if it is to end."""
        for each in self.events.values():
            if each.replaces is not None and each.replaces.type == type:
                return each.until
        own = self.events.get(type)
        return own.until if own is not None and own.replaces is None else None


registry = Registry()


def event(
    type: str,
    *,
    version: int = 1,
    key: str = "",
    owner: str = "",
    replaces: type[Any] | None = None,
    downcast: Callable[[Any], Any] | None = None,
    until: str | None = None,
) -> Callable[[ClassT], ClassT]:
    """
    Declare what events of this type hold, by a frozen, keyword-only dataclass.

    ``version`` rises when old events need an upcaster; ``key`` is what keys name, as in
    ``payments.payment``. With ``replaces`` the event is a new major: the old class's
    event, made by ``downcast``, is published beside it, ``until`` that day at least.
    Without it, ``until`` is this event's own last day.
    """
    if (replaces is None) != (downcast is None):
        raise InvalidContract(f"{type!r} needs both replaces= and downcast=.")
    old = None if replaces is None else contract_of(replaces)

    def decorate(cls: ClassT) -> ClassT:
        return _declared(
            cls,
            type=type,
            version=version,
            key=key,
            owner=owner,
            replaces=old,
            downcast=downcast,
            until=_day(type, until),
        )

    return decorate


def reads(type: str, *, version: int = 1) -> Callable[[ClassT], ClassT]:
    """Declare what a reader reads of events of this type: pass it to ``subscribe``."""

    def decorate(cls: ClassT) -> ClassT:
        return _declared(cls, type=type, version=version, publishes=False)

    return decorate


def _declared(cls: ClassT, *, type: str, version: int, **options: Any) -> ClassT:
    is_frozen = dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not is_frozen or not all(each.kw_only for each in dataclasses.fields(cls)):
        raise InvalidContract(
            f"{cls.__qualname__} is not a value. Put below the decorator: "
            "@dataclass(frozen=True, kw_only=True)."
        )
    try:
        check_type(type)
    except InvalidType as error:
        raise InvalidContract(str(error)) from error
    if version.__class__ is not int or version < 1:
        raise InvalidContract(f"{type!r} has the version {version!r}. Count from 1.")
    contract = Contract(
        type=type, version=version, cls=cls, part=part_of(cls), **options
    )
    registry.add(contract)
    setattr(cls, extending.ATTRIBUTE, contract)
    return cls


def _day(type: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InvalidContract(
            f'{type!r} has until={text!r}, which is not a day: "2027-03-01".'
        ) from None
