"""Differences: what a comparison has found, written down, told once, repaired."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import router, transaction

from django_strangler import evidence
from django_strangler.clock import DatabaseNow
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.publishing import publish_event
from django_strangler.printable import how_many

from . import counts, syncing, verifying
from .declaring import Move
from .directions import Direction
from .models import Difference, MoveState
from .sides.session import decoded, encoded
from .verifying import Found

MOST = 10_000  # Of one move; more help nobody.


def source_of(name: str) -> str:
    """The name of a move's evidence."""
    return f"move:{name}"


def note(move: type[Move], rows: int, found: Iterable[Found]) -> int:
    """Count what was compared, and write down what differs."""
    differing = list(found)
    source = source_of(move.name)
    counts.rows.add(move.name, counts.COMPARED, n=rows)
    if differing:
        counts.rows.add(move.name, counts.DIFFERING, n=len(differing))
    if same := rows - len(differing):
        evidence.note(source, side="modern", times=max(0, same))
    for _ in differing:
        evidence.note(source, side="modern", ok=False)
    if differing:
        _write_down(move, differing)
    return len(differing)


def known(move: type[Move]) -> list[Difference]:
    """Those that are written down, the oldest first."""
    rows = Difference.objects.using(move.source).filter(move=move.name)
    return list(rows.order_by("first_seen", "id")[:MOST])


def look_again(direction: Direction) -> int:
    """Forget those that are no more; says how many are left."""
    left = 0
    rows = known(direction.move)
    for tab, way in direction.ways.items():
        mine = {decoded(row.key): row for row in rows if row.tab == tab}
        found = verifying.compare(direction, way, list(mine))
        still = {each.key for each in found}
        gone = [row.pk for key, row in mine.items() if key not in still]
        Difference.objects.using(direction.move.source).filter(pk__in=gone).delete()
        left += len(still)
    gone = [row.pk for row in rows if row.tab not in direction.ways]
    Difference.objects.using(direction.move.source).filter(pk__in=gone).delete()
    if not left:
        states = MoveState.objects.using(direction.move.source)
        states.filter(name=direction.move.name).update(alerted_at=None)
    return left


def repair(direction: Direction) -> int:
    """Sync what differs; says how many still do."""
    rows = known(direction.move)
    for start in range(0, len(rows), 500):
        wanted: syncing.Wanted = {}
        for row in rows[start : start + 500]:
            if row.tab in direction.ways:
                wanted.setdefault(row.tab, []).append(decoded(row.key))
        syncing.sync(direction, wanted)
    return look_again(direction)


def _write_down(move: type[Move], found: list[Found]) -> None:
    rows = Difference.objects.using(move.source)
    room = MOST - rows.filter(move=move.name).count()
    outbox = router.db_for_write(OutboxEvent)
    with transaction.atomic(using=move.source), transaction.atomic(using=outbox):
        for each in found[: max(room, 0)]:
            rows.update_or_create(
                move=move.name,
                tab=each.tab,
                key=encoded(each.key)[:255],
                defaults={
                    "kind": each.kind,
                    "fields": list(each.fields),
                    "cause": _cause(each),
                    "last_seen": DatabaseNow(),
                },
            )
        states = MoveState.objects.using(move.source).filter(
            name=move.name, alerted_at=None
        )
        # Once, until all differences are gone: who alerts, is who writes this.
        if states.update(alerted_at=DatabaseNow()):
            publish_event(
                "migration.alert",
                {
                    "move": move.name,
                    "source": source_of(move.name),
                    "ground": "differences",
                    "text": "Not the same on both sides: "
                    f"{how_many(len(found), 'row')} of {found[0].tab}.",
                },
                using=outbox,
            )


def _cause(found: Found) -> str:
    if found.kind == "differs":
        return "conversion, or a write past the fence"
    return "a write past the fence, or past triggers"
