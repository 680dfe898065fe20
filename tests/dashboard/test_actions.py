"""Replaying and discarding in the admin: asked first, in batches, and written down."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import connection
from django.urls import reverse

from django_strangler.admin import actions
from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent

from .conftest import DASHBOARD, page_of, parked, parked_now

pytestmark = pytest.mark.django_db


def place(verb: str, **query: object) -> str:
    query = query or {"reason": "unroutable", "type": "payment.completed"}
    return reverse(f"admin:strangler_outboxevent_{verb}") + "?" + urlencode(query)


def said(answer) -> list[str]:
    return [str(each) for each in answer.context["messages"]]


def press(client, url: str):
    """Open the page, and press its button."""
    asked = client.get(url)
    return client.post(url, asked.context["hidden"], follow=True)


def test_a_group_is_replayed_and_nothing_else(admin_client):
    parked(3)
    parked(2, type="audit.written")
    parked(1, reason="rejected")

    asked = admin_client.get(place("replay")).content.decode()
    assert "Replay 3 parked events of type payment.completed (unroutable)?" in asked
    assert "No queue is bound for this type." in asked
    answer = press(admin_client, place("replay"))

    assert answer.redirect_chain[-1][0] == DASHBOARD
    assert said(answer) == [
        "3 events of type payment.completed (unroutable) are pending again."
    ]
    assert OutboxEvent.objects.pending().count() == 3
    assert parked_now() == 3
    assert set(OutboxEvent.objects.pending().values_list("attempts")) == {(0,)}
    entry = LogEntry.objects.get()
    assert entry.action_flag == CHANGE
    assert entry.change_message == (
        "replay: 3 events of type payment.completed (unroutable)"
    )


def test_a_group_is_discarded_for_good(admin_client):
    parked(3)
    parked(2, type="audit.written")

    answer = press(admin_client, place("discard"))

    assert said(answer) == [
        "3 events of type payment.completed (unroutable) are discarded."
    ]
    assert OutboxEvent.objects.count() == 2
    assert LogEntry.objects.get().action_flag == DELETION


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_a_large_group_goes_in_batches_and_what_remains_is_said(
    admin_client, monkeypatch, verb
):
    monkeypatch.setattr(actions, "BATCH", 2)
    monkeypatch.setattr(actions, "PATIENCE", -1.0)
    parked(5)

    answer = press(admin_client, place(verb))

    assert said(answer)[1] == "3 remain."
    assert parked_now() == 3
    # Where one can go on.
    assert f"/outboxevent/{verb}/" in answer.redirect_chain[-1][0]
    assert answer.context["yes"]
    press(admin_client, place(verb))
    assert said(press(admin_client, place(verb)))[0].startswith("1 event of type")
    assert parked_now() == 0
    assert [entry.change_message.split()[1] for entry in LogEntry.objects.all()] == [
        "1",
        "2",
        "2",
    ]


def test_a_large_group_is_one_line_in_the_log(admin_client, monkeypatch):
    monkeypatch.setattr(actions, "BATCH", 2)
    parked(5)

    press(admin_client, place("replay"))

    assert LogEntry.objects.get().change_message.startswith("replay: 5 events")


def test_the_oldest_go_first(admin_client, monkeypatch):
    monkeypatch.setattr(actions, "BATCH", 2)
    monkeypatch.setattr(actions, "PATIENCE", -1.0)
    events = parked(5)

    press(admin_client, place("replay"))

    pending = OutboxEvent.objects.pending().order_by("id").values_list("id", flat=True)
    assert list(pending) == [event.pk for event in events[:2]]


def test_what_was_parked_after_the_question_is_left_alone(admin_client):
    parked(2)
    asked = admin_client.get(place("discard"))
    OutboxEvent.objects.create(
        type="payment.completed",
        body="{}",
        parked_at=DatabaseNow(5),
        parked_reason="unroutable",
    )

    answer = admin_client.post(place("discard"), asked.context["hidden"], follow=True)

    assert said(answer)[0].startswith("2 events")
    assert parked_now() == 1


def test_a_question_about_nothing_leads_back(admin_client):
    answer = admin_client.get(place("replay"), follow=True)

    assert answer.redirect_chain[-1][0] == DASHBOARD
    assert "are parked any more" in said(answer)[0]


@pytest.mark.parametrize(
    "until",
    [
        {},
        {"until": "soon"},
        {"until": "2025-99-99T10:00"},
        {"until": "9999-12-31T23:59:59.9999"},
        {"until": "0001-01-01T00:00:00+01:00"},
    ],
)
def test_an_answer_without_its_question_is_refused(admin_client, until):
    parked(1)

    assert admin_client.post(place("discard"), until).status_code == 400
    assert parked_now() == 1


def test_one_event_is_replayed(admin_client):
    first, second = parked(2)

    answer = press(admin_client, place("replay", event=first.pk))

    assert answer.redirect_chain[-1][0] == page_of(first)
    assert said(answer) == [f"The event {first} is pending again."]
    assert list(OutboxEvent.objects.parked()) == [second]
    assert LogEntry.objects.get().object_id == str(first.pk)
    # The line stands in the event's own history, too.
    history = reverse("admin:strangler_outboxevent_history", args=[first.pk])
    assert "replay: 1" in admin_client.get(history).content.decode()


def test_one_event_is_discarded(admin_client):
    first, second = parked(2)

    answer = press(admin_client, place("discard", event=first.pk))

    assert answer.redirect_chain[-1][0] == DASHBOARD
    assert list(OutboxEvent.objects.all()) == [second]


def test_a_confirmed_event_is_sent_again_but_never_discarded(admin_client, handled):
    answer = press(admin_client, place("discard", event=handled.pk))
    assert said(answer) == ["Nothing was done: it is confirmed."]

    press(admin_client, place("replay", event=handled.pk))
    handled.refresh_from_db()
    assert handled.state == "pending"


def test_those_that_were_selected_in_the_list_are_asked_about_at_once(admin_client):
    first, second, third = parked(3)
    lists = reverse("admin:strangler_outboxevent_changelist")

    asked = admin_client.post(
        lists,
        {"action": "replay_selected", "_selected_action": [first.pk, third.pk]},
        follow=True,
    )
    assert "Replay 2 events that were selected?" in asked.content.decode()
    answer = admin_client.post(asked.redirect_chain[-1][0], follow=True)

    assert said(answer) == ["2 events that were selected are pending again."]
    assert list(OutboxEvent.objects.parked()) == [second]


@pytest.mark.parametrize("action", ["replay_selected", "discard_selected"])
def test_an_action_of_the_list_needs_its_permission(staff, action):
    (event,) = parked(1)
    client = staff("view_outboxevent")
    lists = reverse("admin:strangler_outboxevent_changelist")

    answer = client.post(lists, {"action": action, "_selected_action": [event.pk]})

    assert answer.status_code in (200, 302)
    assert "/replay/" not in answer.get("Location", "")
    assert action not in client.get(lists).content.decode()
    assert parked_now() == 1


def test_an_event_that_is_gone_is_not_found(admin_client):
    for number in ("1", "x", "9" * 30):
        assert admin_client.get(place("replay", event=number)).status_code == 404
    assert admin_client.get(place("replay", type="\0")).status_code == 404


def test_it_works_on_every_database(any_db, route, admin_client):
    OutboxEvent.objects.using(any_db).bulk_create(
        OutboxEvent(
            type="payment.completed",
            body="{}",
            parked_at=DatabaseNow(-60),
            parked_reason="unroutable",
        )
        for _ in range(3)
    )
    route(any_db)

    answer = press(admin_client, place("replay"))

    assert said(answer)[0].startswith("3 events")
    assert OutboxEvent.objects.using(any_db).pending().count() == 3


def test_a_group_that_was_parked_on_the_second_is_replayed(db, admin_client):
    parked(1, reason="unroutable")
    with connection.cursor() as cursor:  # As SQLite itself writes that time.
        cursor.execute(
            "UPDATE strangler_outboxevent SET parked_at = '2026-01-02 03:04:05.000'"
        )
    group = {"reason": "unroutable", "type": OutboxEvent.objects.get().type}

    press(admin_client, place("replay", **group))

    assert OutboxEvent.objects.get().state == "pending"
