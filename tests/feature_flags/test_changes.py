"""The verbs: what each changes, what it refuses, and what it writes down."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.utils.functional import SimpleLazyObject
from users.models import User

from django_strangler import feature_flags
from django_strangler.exceptions import (
    InvalidFlagName,
    InvalidPercentage,
    InvalidRamp,
    InvalidSubject,
    UnknownFlag,
)
from django_strangler.feature_flags import ramps
from django_strangler.models import Flag, FlagChange

pytestmark = pytest.mark.usefixtures("flag_db_rolled_back")

NAME = "notifications-v2"


def stored() -> Flag:
    return Flag.objects.get(name=NAME)


def last_change() -> FlagChange:
    return FlagChange.objects.filter(flag=NAME)[0]


def test_a_rollout_creates_the_flag():
    feature_flags.set_rollout(NAME, percentage=1, by="alice", why="first users")

    flag = stored()
    assert (flag.percentage, flag.salt, flag.enabled) == (Decimal("1.00"), NAME, True)
    change = last_change()
    assert (change.by, change.why, change.before) == ("alice", "first users", None)
    assert change.after["percentage"] == "1.00"
    assert abs(change.at - ramps.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("percentage", ["0", "0.01", "12.5", "99.99", "100"])
def test_every_percentage_comes_back_as_it_was_given(percentage):
    feature_flags.set_rollout(NAME, percentage)

    assert stored().percentage == Decimal(percentage)


def test_the_one_who_changed_it_is_text_and_outlives_the_user():
    alice = User.objects.create_user("alice")
    feature_flags.set_rollout(NAME, 5, by=alice)
    pk = alice.pk
    alice.delete()

    assert (last_change().by, last_change().by_id) == ("alice", str(pk))


def test_switching_off_leaves_the_percentage():
    feature_flags.set_rollout(NAME, 25)
    feature_flags.disable(NAME)
    assert not feature_flags.is_enabled(NAME, 1)
    assert stored().percentage == 25

    feature_flags.set_rollout(NAME, 100)
    assert not feature_flags.is_enabled(NAME, 1)

    feature_flags.enable(NAME)
    assert feature_flags.is_enabled(NAME, 1)


def test_named_users_are_in_or_out_whatever_the_percentage():
    feature_flags.set_rollout(NAME, 0)
    feature_flags.include(NAME, 1, "2", User(pk=3))
    assert [feature_flags.is_enabled(NAME, each) for each in "1234"] == [True] * 3 + [
        False
    ]

    feature_flags.set_rollout(NAME, 100)
    feature_flags.exclude(NAME, 2)
    assert (stored().included, stored().excluded) == (["1", "3"], ["2"])
    assert not feature_flags.is_enabled(NAME, 2)

    feature_flags.release(NAME, 1, 2, 3)
    assert (stored().included, stored().excluded) == ([], [])


def test_the_request_s_own_user_is_named_although_it_is_a_lazy_object():
    user = User.objects.create_user("alice")
    feature_flags.set_rollout(NAME, 0)

    feature_flags.include(NAME, SimpleLazyObject(lambda: user))

    assert stored().included == [str(user.pk)]


@pytest.mark.parametrize("subject", [b"12", SimpleLazyObject(AnonymousUser), None])
def test_what_is_nobody_s_id_is_not_named(subject):
    feature_flags.set_rollout(NAME, 0)

    with pytest.raises(InvalidSubject):
        feature_flags.include(NAME, subject)

    assert stored().included == []


def test_a_group_and_a_queryset_stand_for_those_in_them_now():
    team = Group.objects.create(name="team")
    early, late = User.objects.create_user("early"), User.objects.create_user("late")
    team.user_set.add(early)
    feature_flags.set_rollout(NAME, 0)

    feature_flags.include(NAME, team, User.objects.filter(username="nobody"))
    team.user_set.add(late)

    assert stored().included == [str(early.pk)]


def test_a_flag_that_nobody_created_cannot_be_changed():
    for verb in (
        feature_flags.enable,
        feature_flags.disable,
        feature_flags.hold_ramp,
        feature_flags.resume_ramp,
        feature_flags.rollback,
    ):
        with pytest.raises(UnknownFlag):
            verb("nothing")
    with pytest.raises(UnknownFlag, match=r"set_rollout\('nothing', 0\)"):
        feature_flags.include("nothing", 1)


def test_bad_input_writes_nothing():
    feature_flags.set_rollout(NAME, 1)
    before = FlagChange.objects.count()

    for error, call in (
        (InvalidPercentage, lambda: feature_flags.set_rollout(NAME, 101)),
        (InvalidPercentage, lambda: feature_flags.set_rollout(NAME, 1 / 3)),
        (InvalidFlagName, lambda: feature_flags.set_rollout("No Slug", 1)),
        (InvalidSubject, lambda: feature_flags.include(NAME, 1, None)),
        (InvalidSubject, lambda: feature_flags.exclude(NAME, 1.5)),
        (InvalidRamp, lambda: feature_flags.start_ramp(NAME)),
        (InvalidRamp, lambda: feature_flags.hold_ramp(NAME)),
        (InvalidRamp, lambda: feature_flags.resume_ramp(NAME)),
    ):
        with pytest.raises(error):
            call()

    assert FlagChange.objects.count() == before
    assert stored().percentage == 1


def test_a_ramp_goes_by_the_clock_until_it_is_held():
    week = timedelta(days=7)
    feature_flags.set_rollout(NAME, 0)
    feature_flags.start_ramp(NAME, (100, None), (5, week))
    assert feature_flags.is_enabled(NAME, 1)
    assert stored().rollout() == 100
    assert stored().rollout(ramps.now() + week) == 5

    feature_flags.hold_ramp(NAME)
    assert stored().rollout(ramps.now() + week) == 100
    assert feature_flags.is_enabled(NAME, 1)

    feature_flags.resume_ramp(NAME)
    assert stored().rollout(ramps.now() + week) == 5


def test_a_ramp_that_has_not_begun_leaves_the_percentage():
    feature_flags.set_rollout(NAME, 100)
    feature_flags.start_ramp(NAME, (0, timedelta(days=1)))

    assert feature_flags.is_enabled(NAME, 1)


def test_a_ramp_after_a_ramp_starts_where_that_one_was():
    feature_flags.start_ramp(NAME, (5, None), (10, timedelta(days=1)))
    feature_flags.start_ramp(NAME, (25, timedelta(days=2)))

    assert stored().rollout() == 5


def test_a_rollout_by_hand_ends_the_ramp():
    feature_flags.start_ramp(NAME, (5, None), (10, timedelta(days=1)))
    feature_flags.set_rollout(NAME, 3)

    assert (stored().ramp, stored().rollout()) == (None, 3)


def test_switching_off_holds_the_ramp_so_that_it_does_not_grow_unseen():
    feature_flags.start_ramp(NAME, (5, None), (100, timedelta(days=1)))
    feature_flags.disable(NAME)
    feature_flags.enable(NAME)

    assert stored().rollout(ramps.now() + timedelta(days=9)) == 5


def test_rollback_brings_back_the_state_before_the_last_change():
    feature_flags.set_rollout(NAME, 5)
    feature_flags.include(NAME, 7)
    before = stored().state()
    feature_flags.set_rollout(NAME, 100)

    feature_flags.rollback(NAME, by="bob")
    assert stored().state() == before
    assert (last_change().by, last_change().why) == ("bob", "rollback")

    feature_flags.rollback(NAME)
    assert stored().percentage == 100


def test_a_ramp_that_is_rolled_back_to_goes_on_from_where_it_was(monkeypatch):
    week = timedelta(days=7)
    feature_flags.start_ramp(NAME, (5, None), (100, week))
    feature_flags.set_rollout(NAME, 0, why="panic")
    later = ramps.now() + 2 * week
    monkeypatch.setattr(ramps, "now", lambda: later)

    feature_flags.rollback(NAME)

    assert stored().rollout(later) == 5
    assert stored().rollout(later + week) == 100


def test_rollback_undoes_creating_and_deleting():
    feature_flags.set_rollout(NAME, 5)
    assert feature_flags.rollback(NAME) is None
    assert not Flag.objects.exists()

    feature_flags.rollback(NAME)
    assert stored().percentage == 5

    stored().delete()
    feature_flags.rollback(NAME)
    assert stored().percentage == 5


def test_a_flag_that_is_renamed_keeps_its_users():
    feature_flags.set_rollout(NAME, 50)
    before = [feature_flags.is_enabled(NAME, user) for user in range(100)]

    flag = stored()
    flag.name = "notifications-v3"
    flag.save()

    after = [feature_flags.is_enabled("notifications-v3", user) for user in range(100)]
    assert after == before
