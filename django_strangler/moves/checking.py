"""Checking: what is in the way of a move, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from django.db import connections

from django_strangler import domains
from django_strangler.clock import DatabaseNow
from django_strangler.outbox.models import (
    Lane,
    OutboxEvent,
    RelayProcess,
    outbox_alias,
)

from .capturing import captures, model_of
from .declaring import Move, move_of
from .directions import Direction, direction_of, sides, ways_between
from .exceptions import InvalidMove
from .models import ON, MoveState
from .sides import DatabaseSide
from .sides.session import GATE, MARK, SIDE
from .values import fits
from .ways import Way

_KEYS = ("int", "text", "uuid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Something in the way; what is no error, is a note."""

    text: str
    todo: str = ""
    is_error: bool = True

    def __str__(self) -> str:
        return f"{self.text} {self.todo}".rstrip()


def check(move: type[Move]) -> list[Obstacle]:
    """All that is to be seen from outside, whether the move has begun or not."""
    return [*seen(move), *captured(move)]


def captured(move: type[Move], *, home: str = "") -> Iterator[Obstacle]:
    """Captures that are on: after a switch to ``home`` no more events would come."""
    for each in captures.values():
        try:
            is_moved = move_of(model_of(each)._meta.label_lower) is move
        except LookupError:
            continue  # There is no such model, so it has not begun.
        if not is_moved or each.source == home or each.source not in connections:
            continue
        states = MoveState.objects.using(each.source).on().filter(name=each.name)
        tables = connections[each.source].introspection.table_names()
        if MoveState._meta.db_table in tables and states.exists():
            yield Obstacle(
                text=f"{each.model} is captured by {each.name!r}: written elsewhere "
                "after a switch, it would leave no event.",
                todo=f"Run: manage.py strangler_moves capture {each.name} --stop. "
                "Capture it where it lives, when the move is finished.",
            )


def seen(move: type[Move]) -> list[Obstacle]:
    """What is wrong with the tables themselves: a mover stands still then."""
    try:
        legacy, modern = sides(move)
        if lacking := list(missing(move, legacy, modern)):
            return lacking
        state = MoveState.objects.using(move.source).filter(name=move.name).first()
        if state is not None and state.stage in ON:
            return look(direction_of(move))
        ways = ways_between(move, legacy, modern)
        return [
            *_lacking(legacy, modern, ways),
            *unnumbered(ways),
            *_between(move, legacy, modern, ways),
        ]
    except InvalidMove as error:
        return [Obstacle(text=str(error))]


def tied(move: type[Move]) -> list[Obstacle]:
    """What the survey knows to be tied; it reads the project's code, so not at once."""
    found = domains.ties([table.model for table in move.tables])
    return [
        Obstacle(
            text=f"{each}.",
            todo="Cut it. Or see that it can bear two databases, and give it a reason "
            "in strangler_survey.json.",
        )
        for each in found
    ]


def look(direction: Direction) -> list[Obstacle]:
    """The same while it runs: triggers, and what has been altered since."""
    ways = ways_between(direction.move, direction.source, direction.target)
    found = list(_between(direction.move, direction.source, direction.target, ways))
    for way in ways.values():
        for side, name in ((way.source, way.name), (way.target, way.into)):
            if not side.is_installed(name):
                found.append(
                    Obstacle(
                        text=f"Triggers on {name} in {side.alias!r} are missing or "
                        "disabled.",
                        todo="Run: manage.py strangler_moves start "
                        f"{direction.move.name}. Then verify: what was written "
                        "meanwhile has left no mark.",
                    )
                )
    return found


def undrained(move: type[Move], alias: str) -> list[Obstacle]:
    """Events that no relay would send, as soon as the move's tables live there."""
    if not move.relays or outbox_alias() != move.source:
        return []
    relays = RelayProcess.objects.using(alias).filter(expires_at__gt=DatabaseNow())
    if relays.exists():
        return []
    for each in (move.source, move.target):
        # Alerts are ours, and come where nobody else publishes.
        events = OutboxEvent.objects.using(each).exclude(type="migration.alert")
        if events.exists() or Lane.objects.using(each).exists():
            return [
                Obstacle(
                    text=f"No relay drains the outbox in {alias!r}, where events "
                    "go that are published inside of moves.atomic while the tables "
                    "live there.",
                    todo=f"Run: manage.py drain_outbox --database {move.source} "
                    f"--database {move.target}. Where something else reads it, say "
                    "relays = False in the move; where a relay comes later, switch "
                    "with --without-relay.",
                )
            ]
    return []  # Nobody publishes, and nobody has ever drained.


def missing(
    move: type[Move], legacy: DatabaseSide, modern: DatabaseSide
) -> Iterator[Obstacle]:
    """Tables that are not there."""
    for side in (legacy, modern):
        tables = side.connection.introspection.table_names()
        if not {GATE, SIDE, MARK} <= set(tables):
            yield Obstacle(
                text=f"The database {side.alias!r} has no tables for moves.",
                todo=f"Run: manage.py migrate strangler_moves --database={side.alias}",
            )
        if (
            side is modern
            and outbox_alias() == move.source
            and OutboxEvent._meta.db_table not in tables
        ):
            yield Obstacle(
                text=f"The database {side.alias!r} has no outbox, and events that are "
                "published inside of moves.atomic are written where the tables live.",
                todo=f"Run: manage.py migrate strangler --database={side.alias}, and "
                f"let relays drain it: manage.py drain_outbox --database "
                f"{move.source} --database {side.alias}",
            )
        for way in ways_between(move, legacy, modern).values():
            name = way.name if side is legacy else way.into
            if name not in tables:
                yield Obstacle(
                    text=f"The database {side.alias!r} has no table {name}.",
                    todo="Make it by the migrations that it belongs to: manage.py "
                    f"migrate --database={side.alias}, or the service's own.",
                )


def _lacking(
    source: DatabaseSide, target: DatabaseSide, ways: Mapping[str, Way]
) -> Iterator[Obstacle]:
    # Before a move begins only: who follows it needs less than who puts triggers up.
    for side, names in _tables(source, target, ways):
        yield from granted(side, side.lacking(names))


def _tables(
    source: DatabaseSide, target: DatabaseSide, ways: Mapping[str, Way]
) -> list[tuple[DatabaseSide, list[str]]]:
    return [
        (source, [way.name for way in ways.values()]),
        (target, [way.into for way in ways.values()]),
    ]


def unnumbered(ways: Mapping[str, Way]) -> Iterator[Obstacle]:
    """Rights that only a switch needs: new rows get numbers that are nobody's yet."""
    for way in ways.values():
        for old, new in way.numbered.items():
            # On both sides: a switch may lead back.
            for side, table, column in (
                (way.source, way.name, old),
                (way.target, way.into, new),
            ):
                yield from granted(side, side.lacking_to_number(table, column))


def granted(
    side: DatabaseSide, lacking: Iterator[tuple[str, str]]
) -> Iterator[Obstacle]:
    """Rights that are missing, each with what to say."""
    for what, grant in lacking:
        yield Obstacle(
            text=f"In {side.alias!r}, {side.role()} {what}.",
            todo=f"Run there: GRANT {grant} TO {side.role()}",
        )


def _between(
    move: type[Move],
    source: DatabaseSide,
    target: DatabaseSide,
    ways: Mapping[str, Way],
) -> Iterator[Obstacle]:
    if source.kind != target.kind and "sqlite" in (source.kind, target.kind):
        yield Obstacle(text="SQLite moves to SQLite only.")
    for side, names in _tables(source, target, ways):
        for text in side.obstacles(names):
            yield Obstacle(text=text)
    for way in ways.values():
        yield from _keys(way)
        yield from _columns(way)
    yield from _foreign(source, target, ways)


def _keys(way: Way) -> Iterator[Obstacle]:
    if not way.key:
        yield Obstacle(
            text=f"{way.name} has no primary key, so its rows cannot be named.",
            todo="Give it one.",
        )
        return
    if way.target.key(way.into) != way.key_there:
        yield Obstacle(
            text=f"The key of {way.into} is not that of {way.name}: "
            f"{', '.join(way.key_there)}.",
            todo="Let both have the same, or name its columns in columns=.",
        )
        return
    for name in way.key:
        column, other = way.here[name], way.there[way.renamed[name]]
        if column.family not in _KEYS or other.family not in _KEYS:
            yield Obstacle(
                text=f"The key {way.name}.{name} is of type {column.type}.",
                todo="Keys are whole numbers, texts or UUIDs.",
            )
        elif "text" in (column.family, other.family) and (
            way.source.kind != way.target.kind
        ):
            yield Obstacle(
                text=f"The key {way.name}.{name} is a text, and one database may take "
                "two keys for one that the other tells apart.",
                todo="See that it holds no two that differ in case or accents only.",
                is_error=False,
            )


def _columns(way: Way) -> Iterator[Obstacle]:
    filled = set(way.pairs.values())
    kept = {name for name, each in way.there.items() if not each.generated} - filled
    if way.function is None:
        yield from _unfit(way, kept)
    if kept and way.target.kind == "mariadb" and way.target.uniques(way.into):
        yield Obstacle(
            text=f"{way.into} has unique indexes besides its key, and columns that are "
            f"not moved: {', '.join(sorted(kept))}. MariaDB would empty them.",
            todo="Move them as well, or drop the indexes until the move is finished.",
        )


def _unfit(way: Way, kept: Set[str]) -> Iterator[Obstacle]:
    """Where no function of the project sees to it."""
    for old, new in way.renamed.items():
        if new not in way.there and not way.here[old].generated:
            yield Obstacle(
                text=f"{way.name}.{old} has no column {new} in {way.into}.",
                todo="Add it there, or say in columns= what it is called, or None to "
                "leave it behind.",
            )
    for old, new in way.pairs.items():
        if not fits(way.here[old], way.there[new]):
            yield Obstacle(
                text=f"{way.name}.{old} is {way.here[old].type}, and {way.into}.{new} "
                f"is {way.there[new].type}.",
                todo="Let them hold the same, or give convert= and revert=.",
            )
    for name in sorted(kept):
        if way.there[name].required:
            yield Obstacle(
                text=f"{way.into}.{name} is filled by no column, and has no default.",
                todo="Give it a default in the database, or let it be NULL.",
            )


def _foreign(
    source: DatabaseSide, target: DatabaseSide, ways: Mapping[str, Way]
) -> Iterator[Obstacle]:
    here = {way.name for way in ways.values()}
    there = {way.into for way in ways.values()}
    for each in source.foreign_keys():
        if each.parent in here and each.table not in here:
            yield Obstacle(
                text=f"{each.table} ({', '.join(each.columns)}) refers to "
                f"{each.parent}, which goes away: rows that are new there would be "
                "unknown here for a moment, and then for ever.",
                todo="Drop the constraint (db_constraint=False), or move both.",
            )
        if each.table in here and each.parent not in here:
            yield Obstacle(
                text=f"{each.table} ({', '.join(each.columns)}) refers to "
                f"{each.parent}, which stays. After the switch no database sees to "
                "that any more.",
                todo="Drop the constraint (db_constraint=False) and let code see to "
                "it, or move both.",
                is_error=False,
            )
    order = [way.into for way in ways.values()]
    for each in target.foreign_keys():
        if (each.table in there) != (each.parent in there):
            yield Obstacle(
                text=f"In {target.alias!r} the foreign key {each.name} ties "
                f"{each.table} to {each.parent}, and only one of them is moved.",
                todo="Drop the constraint there.",
            )
        elif each.table in there and order.index(each.parent) > order.index(each.table):
            yield Obstacle(
                text=f"{each.table} comes before its parent {each.parent}.",
                todo="List parents first in tables.",
            )
