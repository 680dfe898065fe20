"""Signals: receivers that listen to another domain, as they are connected now."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import signals as core_signals
from django.db.models import signals as model_signals
from django.dispatch import Signal

from .couplings import Coupling, Kind
from .territory import Territory, loaded

if TYPE_CHECKING:  # It loads what reads imports, and observing needs none of that.
    from .reading import Map


@dataclass(frozen=True, slots=True)
class Listening:
    """A receiver of one domain, and what it hears of another."""

    source: str
    target: str
    signal: Signal
    sender: Any
    module: str
    line: int
    what: str


def listening(territory: Territory, own: dict[str, str]) -> Iterator[Listening]:
    """Receivers across domains; ``own`` are the project's signals and their modules."""
    senders: dict[int, Any] = {id(each): each for each in apps.get_models()}
    known: dict[str, tuple[Signal, str]] = {
        name: (signal, "")
        for module in (model_signals, core_signals)
        for name, signal in vars(module).items()
        if isinstance(signal, Signal)
    }
    for path, module in own.items():
        if isinstance(signal := loaded(path), Signal):
            known[path] = (signal, territory.of_module(module))
    for name, (signal, home) in known.items():
        for (_, sender_id), receiver, *_ in signal.receivers:
            sender = senders.get(sender_id)
            target = home or (territory.of_model(sender) if sender else "")
            function = _function(receiver)
            if function is None or not target:
                continue
            source = territory.of_module(function.__module__)
            if source and source != target:
                label = f" of {sender._meta.label}" if sender else ""
                yield Listening(
                    source,
                    target,
                    signal,
                    sender,
                    function.__module__,
                    function.__code__.co_firstlineno,
                    f"{name.rpartition('.')[2]}{label}: {function.__qualname__}",
                )


def signals(world: Map) -> Iterator[Coupling]:
    """The same, as couplings."""
    for each in listening(world.territory, world.signals):
        file = world.place(each.module)
        yield Coupling(
            each.source, each.target, Kind.SIGNAL, file, each.what, each.line
        )


def _function(receiver: Any) -> Any:
    if isinstance(receiver, weakref.ReferenceType):
        receiver = receiver()
    receiver = getattr(receiver, "func", receiver)  # functools.partial
    function = inspect.unwrap(getattr(receiver, "__func__", receiver))
    return function if hasattr(function, "__code__") else None
