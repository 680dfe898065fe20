"""Relations: what models say, and what only the database knows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, connections, models, router

from .couplings import Coupling, Kind
from .reading import Class, Map
from .territory import Model, Territory


def relations(world: Map) -> Iterator[Coupling]:
    """Foreign keys, many-to-many and generic relations of all models."""
    for model in world.territory.models:
        meta = model._meta
        for field in (
            *meta.local_fields,
            *meta.local_many_to_many,
            *meta.private_fields,
        ):
            if field.is_relation and isinstance(field.related_model, type):
                yield from _relation(world, model, field)
    yield from _same_table(world)


def foreign_keys(territory: Territory) -> dict[str, int]:
    """How many each domain has, within it as well."""
    return Counter(
        territory.of_model(model)
        for model in territory.models
        for field in model._meta.local_fields
        if field.is_relation
    )


def _relation(world: Map, model: Model, field: Any) -> Iterator[Coupling]:
    territory = world.territory
    target = territory.of_model(field.related_model)
    source = territory.of_model(model)
    if not target or source == target:
        return
    home = _home(world, model, field.name)
    where = home.attributes.get(field.name, (home.line, 0)) if home else (0, 0)
    kind = Kind.MANY_TO_MANY if field.many_to_many else Kind.FOREIGN_KEY
    owner = model._meta.label
    if field.one_to_many:  # It has no column: what matters is where it is written.
        kind, owner = Kind.GENERIC, home.name if home else owner
    file = home.file if home else world.place(model.__module__)
    what = f"{owner}.{field.name}: {field.related_model._meta.label}"
    yield Coupling(source, target, kind, file, what, where[0])


def _home(world: Map, model: Model, name: str) -> Class | None:
    """The class in which a field is written, which may be an abstract one."""
    known = [world.classes.get(f"{c.__module__}.{c.__name__}") for c in model.__mro__]
    found = [each for each in known if each is not None]
    return next((each for each in found if name in each.attributes), None) or next(
        iter(found), None
    )


def _same_table(world: Map) -> Iterator[Coupling]:
    """Two models of one table, as unmanaged ones are."""
    for model in world.territory.models:
        owner = world.territory.tables.get(model._meta.db_table)
        if owner is None or model._meta.proxy or owner is model:
            continue
        if model._meta.managed and not owner._meta.managed:
            model, owner = owner, model
        source, target = map(world.territory.of_model, (model, owner))
        home = _home(world, model, "")
        if source != target:
            what = f"{model._meta.label}: {owner._meta.label}"
            file, line = (home.file, home.line) if home else (model.__module__, 0)
            yield Coupling(source, target, Kind.TABLE, file, what, line)


def in_database(world: Map) -> tuple[list[Coupling], list[str]]:
    """Foreign keys of the databases that no model has; and what could not be asked."""
    territory = world.territory
    by_alias: defaultdict[str, dict[str, Model]] = defaultdict(dict)
    for table, model in territory.tables.items():
        by_alias[router.db_for_read(model) or DEFAULT_DB_ALIAS][table] = model
    found, troubles = [], []
    for alias, tables in by_alias.items():
        connection = connections[alias]
        try:
            with connection.cursor() as cursor:
                there = set(connection.introspection.table_names(cursor))
                if not there & set(tables):
                    troubles.append(f"The database {alias!r} has none of the tables.")
                    continue
                keys = [
                    (table, column, other)
                    for table in sorted(there & set(tables))
                    for column, (_, other, *_) in sorted(
                        connection.introspection.get_relations(cursor, table).items()
                    )
                ]
        except Error as error:
            troubles.append(f"The database {alias!r} cannot be asked: {error}")
            continue
        known = {key for model in tables.values() for key in _keys(model)}
        for table, column, other in keys:
            if (table, column, other) in known or other not in territory.tables:
                continue
            source = territory.of_model(tables[table])
            target = territory.of_model(territory.tables[other])
            if source != target:
                file, what = f"database {alias}", f"{table}.{column}: {other}"
                found.append(Coupling(source, target, Kind.DATABASE, file, what))
    return found, troubles


def _keys(model: Model) -> Iterator[tuple[str, str, str]]:
    for field in model._meta.local_fields:
        if field.is_relation and isinstance(field, models.ForeignKey):
            column = field.column or ""
            yield model._meta.db_table, column, field.related_model._meta.db_table
