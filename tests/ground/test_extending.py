"""Validators look at every event, when it is published and when it is decoded."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_strangler import extending, publish_event, publish_events
from django_strangler.events import Event, Publisher, new_id
from django_strangler.exceptions import InvalidEvent
from django_strangler.inbox.decoding import Envelope, Refused
from django_strangler.models import OutboxEvent


@pytest.fixture
def strict(monkeypatch) -> list[Event]:
    """A validator that wants an amount, and what it was shown."""
    shown: list[Event] = []

    def check(event: Event) -> None:
        shown.append(event)
        if "amount" not in event.payload:
            raise InvalidEvent(f"{event.type} needs an amount.")

    monkeypatch.setattr(extending, "validators", [check])
    return shown


@pytest.mark.django_db
def test_an_event_that_a_validator_refuses_is_not_published(strict):
    with transaction.atomic():
        publish_event("payment.completed", {"amount": 5}, key="p:1")
        with pytest.raises(InvalidEvent, match=r"payment\.completed needs an amount"):
            publish_event("payment.completed", {})
        with pytest.raises(InvalidEvent):
            publish_events([Event(type="a.b", payload={})])

    assert OutboxEvent.objects.count() == 1
    assert (strict[0].type, strict[0].key) == ("payment.completed", "p:1")


def test_a_delivery_that_a_validator_refuses_reaches_no_subscriber(strict):
    envelope = Envelope(
        id=new_id(),
        type="a.b",
        key="",
        headers={},
        correlation_id="",
        published_at=None,
        source=Publisher(name="", vouched=False),
    )
    assert envelope.event({"amount": 5}).payload == {"amount": 5}

    with pytest.raises(Refused, match=r"a\.b needs an amount"):
        envelope.event({})
