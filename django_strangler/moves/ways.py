"""Ways: how the rows of one table get from one side to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from django.apps import apps

from .declaring import Move, Row, Table
from .exceptions import InvalidMove
from .sides import Column, DatabaseSide, Key, Values
from .sides.session import plain
from .values import Convert, alike, dumping, family, loading


def names(table: Table) -> tuple[str, str]:
    """The table's name in the source, and in the target."""
    try:
        legacy = apps.get_model(table.model)._meta.db_table
        if table.into is None or table.is_handed_over:
            return legacy, table.into or legacy
        return legacy, apps.get_model(table.into)._meta.db_table
    except (LookupError, ValueError) as error:
        raise InvalidMove(
            f"A move names the model {table.model!r} or {table.into!r}, and there is "
            f"none: {error}"
        ) from error


class Way:
    """One table, from a side to the other."""

    def __init__(
        self, move: type[Move], table: Table, source: DatabaseSide, target: DatabaseSide
    ) -> None:
        self.table = table
        self.tab = table.label
        self.source, self.target = source, target
        self.is_back = source.alias == move.target
        legacy, modern = names(table)
        self.name, self.into = (modern, legacy) if self.is_back else (legacy, modern)

    @cached_property
    def here(self) -> dict[str, Column]:
        """The columns where rows come from."""
        return self.source.columns(self.name)

    @cached_property
    def there(self) -> dict[str, Column]:
        """The columns where they go."""
        return self.target.columns(self.into)

    @cached_property
    def renamed(self) -> dict[str, str]:
        """What a column is called there, of those that go along."""
        given = self.table.columns
        if not self.is_back:
            there = {old: given.get(old, old) for old in self.here}
            return {old: new for old, new in there.items() if new is not None}
        back = {given.get(old, old): old for old in self.there}
        # A name that is not there is of use to a function only.
        return {
            name: back.get(name, name)
            for name in self.here
            if name in back or name not in self.there
        }

    @cached_property
    def pairs(self) -> dict[str, str]:
        """Columns on both sides that go along."""
        return {
            old: new
            for old, new in self.renamed.items()
            if new in self.there
            and not self.here[old].generated
            and not self.there[new].generated
        }

    @property
    def numbered(self) -> dict[str, str]:
        """Those whose values both databases give by themselves."""
        return {
            old: new
            for old, new in self.pairs.items()
            if self.here[old].auto and self.there[new].auto
        }

    @property
    def function(self) -> Callable[[Row], Row] | None:
        """What the project converts rows with, in this direction."""
        return self.table.revert if self.is_back else self.table.convert

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The key's columns here."""
        return self.source.key(self.name)

    @cached_property
    def key_there(self) -> tuple[str, ...]:
        """And there, in the same order."""
        return tuple(self.renamed.get(name, name) for name in self.key)

    @cached_property
    def read(self) -> tuple[str, ...]:
        """What is read of a row."""
        if self.function is None:
            return tuple(self.pairs)
        return tuple(
            name
            for name in self.renamed
            if name in self.here and not self.here[name].generated
        )

    @cached_property
    def written(self) -> tuple[str, ...]:
        """What is written of one; with a function of the project, what it returns."""
        if self.function is None:
            return tuple(self.pairs.values())
        return tuple(name for name, each in self.there.items() if not each.generated)

    @cached_property
    def is_plain(self) -> bool:
        """Whether values go as they are: then the databases can compare as well."""
        return self.function is None and self.source.kind == self.target.kind

    @cached_property
    def has_one_order(self) -> bool:
        """Whether both sides order keys alike, so that ranges mean the same rows."""
        return self.source.kind == self.target.kind and all(
            self.here[old].family == self.there[new].family
            and self.here[old].collation == self.there[new].collation
            for old, new in zip(self.key, self.key_there, strict=True)
        )

    # Rows

    def key_of(self, row: Values) -> Key:
        """The key of a row as it was read here."""
        return plain([row[n] for n in self._places])

    @cached_property
    def _places(self) -> tuple[int, ...]:
        return tuple(self.read.index(name) for name in self.key)

    def key_to(self, key: Key) -> Key:
        """A key of here, as it is there."""
        if self.source.kind == self.target.kind:
            return key
        return plain(list(map(_through, key, self._key_steps)))

    @cached_property
    def _key_steps(self) -> list[list[Convert]]:
        return list(map(self._steps, self.key, self.key_there))

    def convert(self, rows: Sequence[Values]) -> tuple[tuple[str, ...], list[Values]]:
        """Rows as they are to be there, with the names of their columns."""
        if self.is_plain:
            return self.written, list(rows)
        if self.function is None:
            all_steps = [self._steps(old, new) for old, new in self.pairs.items()]
            busy = [(n, steps) for n, steps in enumerate(all_steps) if steps]
            found = []
            for row in rows:
                values = list(row)
                for n, steps in busy:
                    values[n] = _through(values[n], steps)
                found.append(tuple(values))
            return self.written, found
        return self._by_function(rows, self.function)

    def _by_function(
        self, rows: Sequence[Values], function: Callable[[Row], Row]
    ) -> tuple[tuple[str, ...], list[Values]]:
        columns: tuple[str, ...] = ()
        found = []
        loads = [self._loader(name) for name in self.read]
        for row in rows:
            given = {
                self.renamed[name]: _through(value, load)
                for name, value, load in zip(self.read, row, loads, strict=True)
            }
            made = function(given)
            if not columns:
                columns = tuple(name for name in self.written if name in made)
            if set(columns) != set(made):
                odd = ", ".join(sorted(map(str, set(columns) ^ set(made))))
                raise InvalidMove(
                    f"The function of {self.tab} returns other columns than "
                    f"{self.into} has, or not the same for each row: {odd}."
                )
            found.append(tuple(self._dumped(name, made[name]) for name in columns))
        return columns, found

    def _dumped(self, name: str, value: object) -> object:
        column = self.there[name]
        both = self._families.get(name, column.family)
        return _through(value, dumping(self.target.connection, both, column))

    @cached_property
    def _families(self) -> dict[str, str]:
        """By the name there: what both columns of a pair hold."""
        return {
            new: family(self.here[old], self.there[new])
            for old, new in self.pairs.items()
        }

    def _loader(self, name: str) -> list[Convert]:
        both = self._families.get(self.renamed[name], self.here[name].family)
        return loading(self.source.connection, both)

    def _steps(self, old: str, new: str) -> list[Convert]:
        if self.source.kind == self.target.kind:
            return []
        both, column = self._families[new], self.there[new]
        return self._loader(old) + dumping(self.target.connection, both, column)

    def differing(
        self, columns: Sequence[str], expected: Values, found: Values
    ) -> list[str]:
        """The columns in which a row there is not as it should be."""
        if expected == found:
            return []
        return [
            name
            for name, one, other in zip(columns, expected, found, strict=True)
            if one != other and not self._is_alike(name, one, other)
        ]

    def _is_alike(self, name: str, one: object, other: object) -> bool:
        if self.is_plain:
            return alike(one, other)
        load = self._back[name]
        return alike(_through(one, load), _through(other, load))

    @cached_property
    def _back(self) -> dict[str, list[Convert]]:
        """By the name there: from what its driver gives to what Django would."""
        known = self._families
        return {
            name: loading(self.target.connection, known.get(name, column.family))
            for name, column in self.there.items()
        }


def _through(value: object, steps: Sequence[Convert]) -> object:
    if value is not None:
        for step in steps:
            value = step(value)
    return value
