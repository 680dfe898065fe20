"""
Differences on their way into the tables: grouped, bounded, written once a second.

Nothing here runs on the caller's connection, and a database that is away costs counts.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import Error, connections, router, transaction
from django.db.models import F
from django.utils import timezone

from django_strangler import evidence
from django_strangler.announcing import Announcer

from . import noise
from .comparing import Difference
from .conf import settings
from .models import ExperimentTotal, Mismatch
from .running import CandidateOutcome, Finding
from .samples import sample

trouble = Announcer(logging.getLogger("django_strangler.experiments"))

CONTROL = "control"  # The control, run once more as a candidate.
GROUPS = 100  # Kinds of differences of one experiment; the others are one more.
SAMPLES = 5  # Of one kind.
OTHER = "(other places)"


class Place(NamedTuple):
    """What a difference is grouped by."""

    experiment: str
    candidate: str
    kind: str
    path: str

    @property
    def digest(self) -> str:
        """A key of one length."""
        return hashlib.sha256("\0".join(self).encode()).hexdigest()


@dataclass(slots=True)
class _Group:
    count: int = 0
    samples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Total:
    runs: int = 0
    mismatches: int = 0


class Recorder:
    """What this process has seen since it last wrote."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: dict[Place, _Group] = {}
        self._totals: dict[tuple[str, str], _Total] = {}
        # Places that are no failure: known to a person, or noise. As last read.
        self.excused: frozenset[tuple[str, str, str]] = frozenset()

    def record(
        self, experiment: str, findings: Iterable[Finding], told: Mapping[str, Any]
    ) -> None:
        """Count what candidates have shown; the new path's evidence comes from here."""
        for finding in findings:
            if (
                finding.outcome is not CandidateOutcome.REFUSED
                and finding.candidate != CONTROL
            ):
                evidence.note(
                    f"experiment:{experiment}",
                    side="modern",
                    ok=self._is_well(experiment, finding),
                    seconds=finding.seconds,
                )
            self._count(experiment, finding, told)

    def _is_well(self, experiment: str, finding: Finding) -> bool:
        return all(
            (experiment, finding.candidate, each.path) in self.excused
            for each in finding.found
        )

    def _count(
        self, experiment: str, finding: Finding, told: Mapping[str, Any]
    ) -> None:
        places = {
            Place(experiment, finding.candidate, each.kind.value, each.path[:300]): each
            for each in finding.found
        }
        with self._lock:
            total = self._totals.setdefault((experiment, finding.candidate), _Total())
            total.runs += 1
            total.mismatches += bool(places)
            for place, difference in places.items():
                group = self._groups.get(place)
                if group is None:
                    if len(self._groups) >= 2 * GROUPS:
                        place = place._replace(path=OTHER)
                    group = self._groups.setdefault(place, _Group())
                group.count += 1
                if len(group.samples) < SAMPLES:
                    group.samples.append(_sample(difference, told))

    def forget(self) -> None:
        """Drop what was not written; for tests."""
        with self._lock:
            self._groups, self._totals = {}, {}
            self.excused = frozenset()

    def written(self, _: object = None) -> None:
        """Called by the thread that writes evidence, when it has done so."""
        try:
            self.write()
        except Error as error:
            connections[_database()].close()
            trouble.warning(
                "write", "What candidates have shown was not written: %s", error
            )

    def write(self) -> None:
        """Put it into the tables, in one transaction."""
        with self._lock:
            groups, self._groups = self._groups, {}
            totals, self._totals = self._totals, {}
        if not totals:
            return
        alias = _database()
        with transaction.atomic(using=alias):
            # In one order, or two processes would wait for each other.
            for key in sorted(totals):
                _add_total(alias, key, totals[key])
            for place in sorted(groups):
                _add_group(alias, place, groups[place])
        self.look()

    def look(self) -> None:
        """See anew which places are no failure."""
        alias = _database()
        totals = ExperimentTotal.objects.using(alias)
        rows = Mismatch.objects.using(alias).defer("samples").order_by()
        self.excused = excused(totals, list(rows))


recorder = Recorder()


def _database() -> str:
    return str(router.db_for_write(Mismatch))


def _sample(difference: Difference, told: Mapping[str, Any]) -> dict[str, str]:
    return sample(difference, told, timezone.now(), settings().hidden)


def _add_total(alias: str, key: tuple[str, str], total: _Total) -> None:
    experiment, candidate = key
    now = timezone.now()
    rows = ExperimentTotal.objects.using(alias)
    row, _ = rows.get_or_create(
        experiment=experiment,
        candidate=candidate,
        defaults={"first_at": now, "last_at": now},
    )
    rows.filter(pk=row.pk).update(
        runs=F("runs") + total.runs,
        mismatches=F("mismatches") + total.mismatches,
        last_at=now,
    )


def _add_group(alias: str, place: Place, group: _Group) -> None:
    rows, now, release = (
        Mismatch.objects.using(alias),
        timezone.now(),
        settings().release,
    )
    row = rows.select_for_update().filter(digest=place.digest).first()
    if row is None:
        of_experiment = rows.filter(experiment=place.experiment)
        if of_experiment.count() >= GROUPS:
            place = place._replace(path=OTHER)
        row, _ = rows.select_for_update().get_or_create(
            digest=place.digest,
            defaults={
                **place._asdict(),
                "first_at": now,
                "last_at": now,
                "first_release": release,
            },
        )
    row.count = F("count") + group.count
    row.last_at, row.last_release = now, release
    # The first stay, for they show how it began; the last ones are the newest.
    kept = row.samples[: SAMPLES // 2]
    row.samples = [
        *kept,
        *[*row.samples[len(kept) :], *group.samples][-(SAMPLES - len(kept)) :],
    ]
    row.save(update_fields=["count", "last_at", "last_release", "samples"])


def excused(
    found: Iterable[ExperimentTotal], rows: Sequence[Mismatch]
) -> frozenset[tuple[str, str, str]]:
    """Places that are known, or where the control differs from itself as much."""
    totals = {(each.experiment, each.candidate): each.runs for each in found}
    usual = {
        (row.experiment, row.path): row.count
        for row in rows
        if row.candidate == CONTROL
    }
    return frozenset(
        (row.experiment, row.candidate, row.path)
        for row in rows
        if row.is_known
        or noise.is_noise(
            found=row.count,
            runs=totals.get((row.experiment, row.candidate), 0),
            noise=usual.get((row.experiment, row.path), 0),
            calibrated=totals.get((row.experiment, CONTROL), 0),
        )
    )
