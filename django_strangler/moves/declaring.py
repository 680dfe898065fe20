"""What a project declares: a move, and the tables that it takes along."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

from .exceptions import InvalidMove, UnknownMove

Row: TypeAlias = dict[str, Any]
T = TypeVar("T")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Table:
    """
    One table of a move, named by its model.

    ``into`` is another model ("new.Payment"), or the name of a bare table. ``columns``
    says which column is called otherwise there; None leaves one behind. ``convert``
    takes a row, by the names that it has there, and returns it as it is there;
    ``revert`` is the way back.
    """

    model: str
    into: str | None = field(default=None, kw_only=True)
    columns: Mapping[str, str | None] = field(default_factory=dict, kw_only=True)
    convert: Callable[[Row], Row] | None = field(default=None, kw_only=True)
    revert: Callable[[Row], Row] | None = field(default=None, kw_only=True)

    @property
    def label(self) -> str:
        """What marks call it, on both sides."""
        return self.model.lower()

    @property
    def is_handed_over(self) -> bool:
        """Whether it belongs to a service after the switch, and no model is there."""
        return self.into is not None and "." not in self.into

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or self.model.count(".") != 1:
            raise InvalidMove(
                f"Table({self.model!r:.80}) names no model. Write it as "
                '"payments.Payment".'
            )
        if (self.revert is None) != (self.convert is None):
            raise InvalidMove(
                f"Table({self.model!r}) has one of convert= and revert=. After the "
                "switch rows come back by revert=: give both."
            )


class Move:
    """
    Tables on their way to another database. Subclass it in an app's ``moves.py``.

    Parents come first in ``tables``. ``reads`` names a flag: whom it is on for, reads
    from the other side before the switch where that is as new. ``relays`` says whether
    relays drain the outboxes, so that a switch can see to it that one does.
    """

    name: ClassVar[str] = ""
    source: ClassVar[str] = "default"
    target: ClassVar[str] = ""
    tables: ClassVar[Sequence[Table]] = ()
    reads: ClassVar[str] = ""
    relays: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.name, str) or not NAME.fullmatch(cls.name):
            raise InvalidMove(
                f"{cls.name!r:.80} is not a move's name. Use up to 40 lower-case "
                'letters, digits, - and _: name = "payments".'
            )
        if not cls.target or cls.target == cls.source:
            raise InvalidMove(
                f"The move {cls.name!r} has no target of its own. Name an alias of "
                'DATABASES other than its source: target = "payments_service".'
            )
        labels = [table.label for table in cls.tables]
        if not labels or len(set(labels)) < len(labels):
            raise InvalidMove(
                f"The move {cls.name!r} needs tables, each once: "
                'tables = [Table("payments.Payment")].'
            )
        known = registry.get(cls.name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise InvalidMove(f"There is a move {cls.name!r} already. Rename one.")
        for other in registry.values():
            if other.name != cls.name and (
                shared := {each.label for each in other.tables} & set(labels)
            ):
                raise InvalidMove(
                    f"{min(shared)} is in the moves {other.name!r} and {cls.name!r}. "
                    "A table is in one move only."
                )
        registry[cls.name] = cls

    @classmethod
    def table(cls, label: str) -> Table | None:
        """The table of a model, by its label in lower case."""
        return next((each for each in cls.tables if each.label == label), None)


registry: dict[str, type[Move]] = {}


def find(name: str) -> type[Move]:
    """The move of that name."""
    return declared(registry, "move", name)


def declared(known: Mapping[str, T], what: str, name: str) -> T:
    """The one of that name, or an error that lists the others."""
    if name in known:
        return known[name]
    raise UnknownMove(
        f"No app declares a {what} {name!r} in its moves.py. Declared: "
        f"{', '.join(sorted(known)) or 'none'}."
    )


def move_of(label: str) -> type[Move] | None:
    """The move that takes this model along, on either side."""
    return next(
        (
            move
            for move in registry.values()
            for table in move.tables
            if label in (table.label, (table.into or "").lower())
        ),
        None,
    )
