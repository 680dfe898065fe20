"""Delayed events in the admin: listed apart, and taken back after a question."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.db import transaction
from django.urls import reverse

from django_strangler import publish_event
from django_strangler.admin import bounded
from django_strangler.models import IdempotencyKey, OutboxEvent

from .conftest import LIST, page_of, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def delayed() -> list[OutboxEvent]:
    with transaction.atomic():
        publish_event("payment.completed", {})
        for number in (3, 1, 2):
            publish_event(
                f"reminder.n{number}",
                {},
                delay=number * 3600,
                idempotency_key=f"reminder-{number}",
            )
    return list(OutboxEvent.objects.delayed().order_by("available_at"))


def page(*events: OutboxEvent) -> str:
    query = "&".join(f"event={each.pk}" for each in events)
    return reverse("admin:strangler_outboxevent_cancel") + f"?{query}"


def test_the_delayed_are_listed_apart_the_next_first(delayed, staff, monkeypatch):
    client = staff("cancel_event")

    def listed(**query: str) -> list[str]:
        answer = client.get(LIST, {"state": "delayed", **query})
        return [each.type for each in answer.context["cl"].result_list]

    assert listed() == ["reminder.n1", "reminder.n2", "reminder.n3"]
    assert listed(type="reminder.n2") == ["reminder.n2"]
    monkeypatch.setattr(bounded, "SEARCHED", 1)
    assert listed(type="reminder.n3") == []


def test_a_selection_is_cancelled_after_a_question_and_written_down(delayed, staff):
    client = staff("cancel_event")
    chosen = [delayed[0].pk, delayed[2].pk]

    asked = client.post(LIST, {"action": "cancel_selected", "_selected_action": chosen})
    assert set(parse_qs(urlsplit(asked["Location"]).query)["event"]) == {
        str(pk) for pk in chosen
    }
    assert "Cancel 2 events that were selected?" in text(client.get(asked["Location"]))
    assert OutboxEvent.objects.delayed().count() == 3
    client.post(asked["Location"], {"until": ""})

    assert [each.type for each in OutboxEvent.objects.delayed()] == ["reminder.n2"]
    assert IdempotencyKey.objects.count() == 1  # The others' can be used again.
    entry = LogEntry.objects.get()
    assert entry.action_flag == DELETION
    assert entry.change_message == "cancel: 2 events that were selected"


def test_what_is_due_is_not_cancelled(delayed, staff):
    client, due = staff("cancel_event"), OutboxEvent.objects.earliest("id")

    answer = client.post(page(due), {"until": ""}, follow=True)

    (said,) = answer.context["messages"]
    assert str(said) == "Nothing was done: it is pending."
    assert OutboxEvent.objects.filter(pk=due.pk).exists()
    assert page(due) not in text(client.get(page_of(due)))
    assert page(delayed[0]) in text(client.get(page_of(delayed[0])))


@pytest.mark.parametrize("permission", ["replay_event", "discard_event"])
def test_cancelling_takes_its_own_permission(delayed, staff, permission):
    client = staff(permission)

    assert client.get(page(delayed[0])).status_code == 403
    assert client.post(page(delayed[0]), {"until": ""}).status_code == 403
    assert page(delayed[0]) not in text(client.get(page_of(delayed[0])))
    assert OutboxEvent.objects.delayed().count() == 3


def test_there_is_no_group_to_cancel(delayed, staff):
    url = reverse("admin:strangler_outboxevent_cancel")

    answer = staff("cancel_event").get(f"{url}?reason=unroutable&type=reminder.n1")

    assert answer.status_code == 404
