"""Flags in the admin: a sentence, a history, an off switch that asks once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse
from users.models import User

from django_strangler import feature_flags
from django_strangler.models import Flag, FlagChange

pytestmark = pytest.mark.django_db
NAME = "notifications-v2"
LIST = "admin:strangler_flag_changelist"


@pytest.fixture
def flag():
    feature_flags.set_rollout(NAME, "12.5", by="seed")
    return feature_flags.include(NAME, 1, 2, 3, by="seed")


def url(view: str, flag: Flag) -> str:
    return reverse(f"admin:strangler_flag_{view}", args=[flag.pk])


def form(flag: Flag, **values):
    return {
        "name": flag.name,
        "enabled": "on",
        "percentage": str(flag.percentage),
        "included": "\n".join(flag.included),
        "excluded": "",
        "salt": flag.salt,
        "why": "",
        **values,
    }


def staff(client, *permissions: str) -> User:
    user = User.objects.create_user("oncall", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def test_the_rollout_is_a_sentence(admin_client, flag):
    page = admin_client.get(reverse(LIST))

    assert "12.5 % of users, and 3 named" in page.content.decode()
    assert (
        "12.5 % of users, and 3 named"
        in admin_client.get(url("change", flag)).content.decode()
    )


def test_a_change_is_written_down_with_who_and_why(admin_client, admin_user, flag):
    answer = admin_client.post(
        url("change", flag), form(flag, percentage="25", why="all is well")
    )

    assert answer.status_code == 302
    change = FlagChange.objects.first()
    assert (change.by, change.by_id) == (admin_user.username, str(admin_user.pk))
    assert change.why == "all is well"
    assert (change.before["percentage"], change.after["percentage"]) == (
        "12.50",
        "25.00",
    )


def test_a_flag_is_created_and_deleted_in_the_admin(admin_client, admin_user):
    admin_client.post(
        reverse("admin:strangler_flag_add"),
        {"name": "new", "enabled": "on", "percentage": "0", "included": "7\n\n 8 "},
    )
    flag = Flag.objects.get()
    assert (flag.included, flag.salt) == (["7", "8"], "new")

    admin_client.post(url("delete", flag), {"post": "yes"})
    assert not Flag.objects.exists()
    assert FlagChange.objects.first().by == admin_user.username


def test_many_are_deleted_with_their_history(admin_client, admin_user, flag):
    admin_client.post(
        reverse(LIST),
        {"action": "delete_selected", "_selected_action": [flag.pk], "post": "yes"},
    )

    assert FlagChange.objects.first().after is None
    assert FlagChange.objects.first().by == admin_user.username


@pytest.mark.parametrize(
    "wrong",
    [
        {"percentage": "12.345"},
        {"percentage": "101"},
        {"name": "No Slug"},
        {"salt": "a:b"},
        {"included": "x" * 300},
    ],
)
def test_bad_input_comes_back_with_an_error(admin_client, flag, wrong):
    answer = admin_client.post(url("change", flag), form(flag, **wrong))

    assert answer.status_code == 200
    assert answer.context["errors"]
    assert Flag.objects.get().state() == flag.state()


def test_groups_and_staff_are_expanded_when_they_are_set(admin_client, flag):
    team = Group.objects.create(name="team")
    one = User.objects.create_user("one")
    team.user_set.add(one)
    boss = User.objects.get(is_staff=True)

    admin_client.post(
        url("change", flag), form(flag, include_group=team.pk, include_staff="on")
    )

    assert {str(one.pk), str(boss.pk)} <= set(Flag.objects.get().included)


def test_a_percentage_by_hand_ends_the_ramp_and_nothing_else_does(admin_client, flag):
    feature_flags.start_ramp(NAME, (20, timedelta(days=1)))

    admin_client.post(url("change", flag), form(flag, excluded="9"))
    assert Flag.objects.get().ramp is not None

    admin_client.post(url("change", flag), form(flag, percentage="30"))
    assert Flag.objects.get().ramp is None


def test_history_is_our_own_and_cannot_be_changed(admin_client, flag):
    Flag.objects.update(percentage=50)  # By no door of ours.

    page = admin_client.get(url("history", flag), follow=True).content.decode()
    assert "percentage 12.50 → 50.00" in page
    assert "included +1, 2, 3" in page

    change = FlagChange.objects.first()
    place = reverse("admin:strangler_flagchange_change", args=[change.pk])
    assert admin_client.get(place).status_code == 200
    assert admin_client.post(place, {"by": "mallory"}).status_code == 403
    remove = reverse("admin:strangler_flagchange_delete", args=[change.pk])
    assert admin_client.post(remove, {"post": "yes"}).status_code == 403


def test_a_page_that_was_left_open_undoes_no_later_change(admin_client, flag):
    page = admin_client.get(url("change", flag))
    seen = page.context["adminform"].form.initial["seen"]
    feature_flags.disable(NAME, by="bob")

    answer = admin_client.post(url("change", flag), form(flag, seen=seen))

    assert "bob has changed this flag meanwhile" in answer.content.decode()
    assert not Flag.objects.get().enabled


def test_off_now_asks_once(admin_client, admin_user, flag):
    assert url("off", flag) in admin_client.get(url("change", flag)).content.decode()

    page = admin_client.get(url("off", flag))
    assert "12.5 % of users, and 3 named" in page.content.decode()
    assert Flag.objects.get().enabled

    admin_client.post(url("off", flag), {"why": "mails are sent twice"})
    assert not Flag.objects.get().enabled
    assert not feature_flags.is_enabled(NAME, 1)
    change = FlagChange.objects.first()
    assert (change.by, change.why) == (admin_user.username, "mails are sent twice")
    assert (
        url("off", flag) not in admin_client.get(url("change", flag)).content.decode()
    )


@pytest.mark.parametrize(
    ("prepare", "button", "sentence"),
    [
        (lambda: feature_flags.disable(NAME), "on", "12.5 % of users"),
        (
            lambda: feature_flags.start_ramp(NAME, (20, timedelta(days=1))),
            "hold",
            "the ramp is held",
        ),
        (
            lambda: (
                feature_flags.start_ramp(NAME, (20, timedelta(days=1))),
                feature_flags.hold_ramp(NAME),
            ),
            "resume",
            "20 % from",
        ),
    ],
)
def test_what_fits_a_flag_has_a_button_that_asks(
    admin_client, admin_user, flag, prepare, button, sentence
):
    place = url(button, flag)
    assert place not in admin_client.get(url("change", flag)).content.decode()
    prepare()
    assert place in admin_client.get(url("change", flag)).content.decode()

    assert "Now: " in admin_client.get(place).content.decode()
    admin_client.post(place, {"why": "all is well"})

    page = admin_client.get(url("change", flag)).content.decode()
    assert sentence in page
    assert FlagChange.objects.first().by == admin_user.username
    assert FlagChange.objects.first().why == "all is well"


@pytest.mark.parametrize("button", ["on", "hold", "resume"])
def test_who_may_only_switch_off_may_not_do_the_opposite(client, flag, button):
    staff(client, "switch_off_flag")

    assert client.post(url(button, flag), {"why": "x"}).status_code == 403


def test_a_ramp_is_started_by_a_line(admin_client, flag):
    answer = admin_client.post(
        url("change", flag), form(flag, ramp_steps="20@now 50@+7d")
    )

    assert answer.status_code == 302
    page = admin_client.get(url("change", flag)).content.decode()
    assert "Follows: 20 % at" in page
    wrong = admin_client.post(url("change", flag), form(flag, ramp_steps="20@soon"))
    assert "is not a step" in wrong.content.decode()


@pytest.mark.parametrize(
    ("subject", "answer"),
    [
        ("3", "3: on. Included by name."),
        ("ada", "ada (7): off. Excluded by name."),
        ("ada@example.com", "ada (7): off. Excluded by name."),
        ("40404", "40404: off. The place is"),
    ],
)
def test_the_page_says_whether_somebody_is_in_and_why(
    admin_client, flag, subject, answer
):
    User.objects.create_user("ada", email="ada@example.com", pk=7)
    feature_flags.exclude(NAME, 7)

    page = admin_client.get(url("change", flag), {"subject": subject})

    assert answer in page.content.decode()


def test_names_of_users_are_for_those_who_may_see_users(client, flag):
    User.objects.create_user("ada", email="ada@example.com", pk=7)
    staff(client, "view_flag")

    page = client.get(url("change", flag), {"subject": "ada@example.com"})

    assert "(7)" not in page.content.decode()


def test_people_are_named_by_name_and_strangers_are_told(admin_client, flag):
    User.objects.create_user("ada", email="ada@example.com", pk=77)

    answer = admin_client.post(
        url("change", flag), form(flag, included="1\nada\nu1"), follow=True
    )

    assert Flag.objects.get().included == ["1", "77", "u1"]
    said = [str(each) for each in answer.context["messages"]]
    assert said[0].startswith("There is no such user: u1 is taken for the id")


class StaleReplica:
    """A database router that reads from a copy, which lags behind."""

    def __init__(self, replica: str) -> None:
        self.replica = replica

    def db_for_read(self, model: type, **hints: object) -> str | None:
        return self.replica if model._meta.app_label == "strangler" else None

    def db_for_write(self, model: type, **hints: object) -> str:
        return "default"


def test_a_stale_replica_undoes_no_off_switch(admin_client, flag, sqlite_db, settings):
    feature_flags.set_rollout(NAME, 50, by="seed")
    # A copy has the same keys.
    Flag.objects.using(sqlite_db).bulk_create(
        [Flag(pk=flag.pk, name=NAME, percentage=50)]
    )
    feature_flags.disable(NAME, by="oncall")
    feature_flags.set_rollout(NAME, 7, by="oncall")
    settings.DATABASE_ROUTERS = [StaleReplica(sqlite_db)]

    page = admin_client.get(url("change", flag))
    shown = page.context["adminform"].form.initial
    assert (shown["enabled"], shown["percentage"]) == (False, 7)
    answer = admin_client.post(
        url("change", flag),
        {
            **form(flag, percentage="7", why="a note"),
            "enabled": "",
            "seen": shown["seen"],
        },
    )

    assert answer.status_code == 302, answer.context["adminform"].form.errors
    stored = Flag.objects.using("default").get()
    assert (stored.enabled, stored.percentage) == (False, 7)
    assert str(stored) in admin_client.get(reverse(LIST)).content.decode()


def test_a_flag_that_is_gone_is_not_found(admin_client, flag):
    place = url("off", flag)
    flag.delete()

    assert admin_client.get(place).status_code == 404


def test_whoever_may_only_switch_off_can_do_only_that(client, flag):
    staff(client, "switch_off_flag")
    assert client.get(reverse(LIST)).status_code == 200
    assert url("off", flag) in client.get(url("change", flag)).content.decode()
    assert client.post(url("change", flag), form(flag)).status_code == 403
    assert client.post(url("delete", flag), {"post": "yes"}).status_code == 403
    assert Flag.objects.get().state() == flag.state()

    assert client.post(url("off", flag), {"why": ""}).status_code == 302
    assert not Flag.objects.get().enabled


def test_whoever_may_only_look_cannot_switch_off(client, flag):
    staff(client, "view_flag")

    assert client.get(reverse(LIST)).status_code == 200
    assert url("off", flag) not in client.get(url("change", flag)).content.decode()
    assert client.post(url("off", flag), {}).status_code == 403
    assert Flag.objects.get().enabled


def test_others_see_nothing(client, flag):
    staff(client)

    for view in ("change", "off", "history"):
        assert client.get(url(view, flag)).status_code == 403
