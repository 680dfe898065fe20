"""Who sees what, and who may do what: each permission alone, and all of them."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from django_strangler import feature_flags
from django_strangler.models import Flag, OutboxEvent

from .conftest import DASHBOARD, page_of, parked

pytestmark = pytest.mark.django_db

GROUP = "?reason=unroutable&type=payment.completed"
ACTIONS = {
    "replay a group": {"replay_event"},
    "discard a group": {"discard_event"},
    "replay an event": {"replay_event"},
    "discard an event": {"discard_event"},
    "switch a flag off": {"switch_off_flag", "change_flag"},
}


@pytest.fixture
def things():
    feature_flags.set_rollout("payments-v2", 10)
    return parked(2)


def place(action: str) -> str:
    if action == "switch a flag off":
        return reverse("admin:strangler_flag_off", args=[Flag.objects.get().pk])
    verb, _, target = action.split()
    event = OutboxEvent.objects.earliest("id").pk
    query = GROUP if target == "group" else f"?event={event}"
    return reverse(f"admin:strangler_outboxevent_{verb}") + query


def stand() -> object:
    """All that an action could change."""
    rows = OutboxEvent.objects.order_by("id").values_list("id", "parked_at")
    return list(rows), Flag.objects.get().enabled, LogEntry.objects.count()


def hidden(page) -> dict[str, str]:
    return dict(page.context["hidden"])


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_takes_its_own_permission_and_no_other_will_do(
    things, client, action
):
    user = get_user_model().objects.create_user("oncall", is_staff=True)
    others = Permission.objects.exclude(
        content_type__app_label="strangler", codename__in=ACTIONS[action]
    )
    url, before = place(action), stand()
    client.force_login(user)

    # None, each single one of the app, and all of all other apps together.
    ours = others.filter(content_type__app_label="strangler")
    for permissions in [[], *([each] for each in ours), others]:
        user.user_permissions.set(permissions)
        assert client.get(url).status_code == 403, permissions
        assert client.post(url, {"until": "2999-01-01"}).status_code == 403, permissions
    assert stand() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_does_anything_without_a_login(things, client, action):
    before = stand()

    for answer in (client.get(place(action)), client.post(place(action))):
        assert answer.status_code == 302
        assert "/login/" in answer["Location"]
    assert stand() == before


@pytest.mark.parametrize(
    ("action", "permission"),
    [(action, each) for action, them in ACTIONS.items() for each in sorted(them)],
)
def test_with_its_permission_it_asks_acts_and_is_written_down(
    things, staff, action, permission
):
    client, before = staff(permission), stand()

    asked = client.get(place(action))
    assert asked.status_code == 200
    assert stand() == before
    answer = client.post(place(action), hidden(asked), follow=True)

    assert answer.status_code == 200
    assert [str(each) for each in answer.context["messages"]]
    assert stand() != before
    entry = LogEntry.objects.get()
    assert entry.user.username == "oncall"
    assert entry.change_message


@pytest.mark.parametrize("action", ACTIONS)
def test_a_superuser_may_do_all(things, admin_client, action):
    before = stand()

    admin_client.post(place(action), hidden(admin_client.get(place(action))))

    assert stand() != before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_forged_request_does_nothing(things, admin_user, action):
    client, before = Client(enforce_csrf_checks=True), stand()
    client.force_login(admin_user)

    answer = client.post(place(action), {"until": "2999-01-01"})

    assert answer.status_code == 403
    assert stand() == before


SECTIONS = {
    "events": (
        "strangler-verdict",
        "strangler-chart",
        "Relays",
        "Consumers",
        "unroutable",
    ),
    "replay": ("/outboxevent/replay/",),
    "discard": ("/outboxevent/discard/",),
    "flags": ("10 % of users",),
    "off": ("/off/",),
    "changes": ("created at 10.00 %",),
}


@pytest.mark.parametrize(
    ("permission", "sections"),
    [
        ("view_outboxevent", {"events"}),
        ("replay_event", {"events", "replay"}),
        ("discard_event", {"events", "discard"}),
        ("view_flag", {"flags"}),
        ("change_flag", {"flags", "off"}),
        ("switch_off_flag", {"flags", "off"}),
        ("view_flagchange", {"changes"}),
    ],
)
def test_the_page_shows_what_one_may_see_and_do(things, staff, permission, sections):
    page = staff(permission).get(DASHBOARD).content.decode()

    seen = {
        section
        for section, signs in SECTIONS.items()
        if any(sign in page for sign in signs)
    }
    assert seen == sections
    assert all(sign in page for section in seen for sign in SECTIONS[section])


def test_a_superuser_sees_all_of_it(things, admin_client):
    page = admin_client.get(DASHBOARD).content.decode()

    assert all(sign in page for signs in SECTIONS.values() for sign in signs)


@pytest.mark.parametrize("permissions", [[], ["view_payload"], ["view_inboxentry"]])
def test_whoever_may_see_nothing_of_it_gets_no_page(things, staff, permissions):
    assert staff(*permissions).get(DASHBOARD).status_code == 404


def test_nobody_sees_it_without_a_login(things, client):
    assert "/login/" in client.get(DASHBOARD)["Location"]


@pytest.mark.parametrize(
    ("permission", "offers"),
    [
        ("view_outboxevent", set()),
        ("replay_event", {"replay"}),
        ("discard_event", {"discard"}),
    ],
)
def test_an_event_s_page_offers_what_one_may_do(things, staff, permission, offers):
    page = staff(permission).get(page_of(things[0]))

    assert page.status_code == 200
    text = page.content.decode()
    assert {v for v in ("replay", "discard") if f"/{v}/?event=" in text} == offers
