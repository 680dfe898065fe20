"""Who is in a flag at one moment: all that another process needs to decide alike."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import router

from . import rules
from .buckets import threshold
from .models import Flag, FlagVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """
    A flag as it stood when it was read, a ramp by its clock.

    While it is enabled: a subject that is included is in, then one that has
    ``bucket(salt, id) < threshold``. One that is excluded is never in.
    """

    name: str
    salt: str
    percentage: Decimal
    enabled: bool = True
    included: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    version: str = ""  # Of all flags; equal versions and no ramp mean equal cohorts.

    @property
    def threshold(self) -> int:
        """Subjects whose bucket is below this are in."""
        return threshold(self.percentage)


def cohort(name: str) -> Cohort:
    """
    The flag as it is now, not as it was a second ago: two queries.

    A flag that does not exist is off, as it is for ``is_enabled()``.
    """
    name = rules.check_name(name)
    alias = router.db_for_write(Flag)
    # The stamp first: after a change in between, the next look finds another.
    version = FlagVersion.objects.using(alias).stamp() or ""
    flag = Flag.objects.using(alias).filter(name=name).first()
    if flag is None:
        return Cohort(
            name=name, salt=name, percentage=Decimal(0), enabled=False, version=version
        )
    return Cohort(
        name=name,
        salt=flag.salt,
        percentage=flag.rollout(),
        enabled=flag.enabled,
        included=rules.stored_ids(flag.included),
        excluded=rules.stored_ids(flag.excluded),
        version=version,
    )
