"""A flag as other processes need it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.db import connections

from django_strangler import feature_flags
from django_strangler.exceptions import InvalidFlagName, InvalidSubject
from django_strangler.feature_flags import buckets, ramps
from django_strangler.models import Flag

from .conftest import queries

NAME = "notifications-v2"


def decided(cohort: feature_flags.Cohort, subject: str) -> bool:
    """As a gateway decides that knows a cohort and nothing else."""
    if not cohort.enabled or subject in cohort.excluded:
        return False
    if subject in cohort.included or cohort.percentage == 100:
        return True
    return bool(subject) and (buckets.bucket(cohort.salt, subject) < cohort.threshold)


def test_who_decides_by_a_cohort_decides_as_the_application(flag_db_rolled_back):
    feature_flags.set_rollout(NAME, "33.33")
    feature_flags.include(NAME, *range(50))
    feature_flags.exclude(NAME, *range(25, 100))
    subjects = ["", *map(str, range(1000))]

    def both() -> tuple[list[bool], list[bool]]:
        cohort = feature_flags.cohort(NAME)
        return (
            [decided(cohort, each) for each in subjects],
            [feature_flags.is_enabled(NAME, each or None) for each in subjects],
        )

    there, here = both()
    assert there == here
    assert 300 < sum(here) < 400
    for percentage in (0, "0.01", 100):
        feature_flags.set_rollout(NAME, percentage)
        there, here = both()
        assert there == here
    feature_flags.disable(NAME)
    there, here = both()
    assert there == here
    assert not any(here)


def test_a_cohort_is_all_of_the_flag_and_frozen(flag_db_rolled_back):
    feature_flags.set_rollout(NAME, "12.5")
    feature_flags.include(NAME, 7)
    feature_flags.exclude(NAME, 8)
    Flag.objects.filter(name=NAME).update(salt="mails")

    cohort = feature_flags.cohort(NAME)

    assert cohort == feature_flags.Cohort(
        name=NAME,
        salt="mails",
        percentage=Decimal("12.50"),
        included=frozenset({"7"}),
        excluded=frozenset({"8"}),
        version=feature_flags.evaluate(NAME, 1).version,
    )
    assert cohort.threshold == 1250 * 0xFFFFFFFF // 10000
    with pytest.raises(FrozenInstanceError):
        cohort.salt = "other"  # type: ignore[misc]


def test_a_flag_that_does_not_exist_is_off(flag_db_rolled_back):
    cohort = feature_flags.cohort(NAME)

    assert not cohort.enabled
    assert cohort.threshold == 0
    assert not decided(cohort, "1")


def test_each_change_of_a_flag_is_another_version(flag_db_rolled_back):
    feature_flags.set_rollout(NAME, 5)
    before = feature_flags.cohort(NAME)

    feature_flags.set_rollout("another", 5)

    after = feature_flags.cohort(NAME)
    assert before.version != after.version
    assert after.version == feature_flags.cohort("another").version


def test_a_ramp_is_where_its_clock_is(flag_db_rolled_back, monkeypatch):
    now = datetime(2030, 1, 7, tzinfo=timezone.utc)
    monkeypatch.setattr(ramps, "now", lambda: now)
    feature_flags.start_ramp(NAME, (5, None), (25, timedelta(days=1)))
    first = feature_flags.cohort(NAME)

    now += timedelta(days=1)

    assert first.percentage == 5
    assert feature_flags.cohort(NAME).percentage == 25
    assert feature_flags.cohort(NAME).version == first.version


def test_a_change_of_another_process_is_seen_at_once(flag_db, clock):
    feature_flags.set_rollout(NAME, 5)
    feature_flags.is_enabled(NAME, 1)  # Kept for FLAG_REFRESH by this process.
    other = connections[flag_db].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("UPDATE strangler_flag SET percentage = 50")
    finally:
        other.close()

    with queries(flag_db) as asked:
        cohort = feature_flags.cohort(NAME)

    assert cohort.percentage == 50
    assert len(asked) == 2


def test_what_no_flag_can_be_called_is_an_error(flag_db_rolled_back):
    with pytest.raises(InvalidFlagName):
        feature_flags.cohort("No Flag")


def test_a_row_that_was_broken_by_hand_is_an_error(flag_db_rolled_back):
    feature_flags.set_rollout(NAME, 5)
    with connections[flag_db_rolled_back].cursor() as cursor:
        cursor.execute("UPDATE strangler_flag SET excluded = '[42]'")

    with pytest.raises(InvalidSubject):
        feature_flags.cohort(NAME)
