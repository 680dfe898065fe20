from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import get_user_model
from django.db import models
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe

from django_strangler.events import Event, key_text, new_id
from django_strangler.exceptions import InvalidKey


class Place(str, enum.Enum):
    HERE = "here"


class Colour(models.TextChoices):
    RED = "red"


def test_an_event_needs_a_type_and_a_payload_only():
    event = Event(type="payment.completed", payload={"paymentId": 1})

    assert event.key == ""
    assert event.correlation_id == ""
    assert event.headers == {}
    assert event.published_at is None


def test_an_event_takes_its_fields_by_name_only():
    with pytest.raises(TypeError):
        Event("payment.completed", {})  # type: ignore[misc]


def test_an_event_cannot_be_changed():
    event = Event(type="payment.completed", payload={})

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.type = "payment.failed"  # type: ignore[misc]


def test_two_events_have_different_ids_and_headers():
    one, other = (Event(type="payment.completed", payload={}) for _ in range(2))

    assert one.id != other.id
    assert one.headers is not other.headers


def test_an_event_survives_pickling_and_copying():
    event = Event(type="payment.completed", payload={"a": [1]}, key="k")

    assert pickle.loads(pickle.dumps(event)) == event
    assert copy.deepcopy(event) == event
    assert dataclasses.replace(event, key="l").key == "l"


def test_an_id_is_a_uuid_of_version_7_that_tells_the_time():
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert before <= made.int >> 80 <= after


def test_ids_made_at_the_same_time_differ():
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: new_id(), range(20_000)))

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, ""),
        ("", ""),
        ("payment:42", "payment:42"),
        (mark_safe("payment:42"), "payment:42"),
        (Colour.RED, "red"),
        (Place.HERE, "here"),
    ],
)
def test_a_key_becomes_plain_text(given, text):
    assert key_text(given) == text
    assert type(key_text(given)) is str
    event = Event(type="payment.completed", payload={}, key=given)
    assert event.key == text
    assert type(event.key) is str


@pytest.mark.parametrize("given", [42, 4.2, b"key", uuid.uuid4(), ("a", 1), object])
def test_a_key_of_another_type_is_refused(given):
    with pytest.raises(InvalidKey, match="text or a saved model instance"):
        key_text(given)


@pytest.mark.django_db
def test_a_saved_instance_is_a_key_by_its_label_and_primary_key():
    user = get_user_model().objects.create_user("ada")

    assert key_text(user) == f"users.user:{user.pk}"
    assert Event(type="user.created", payload={}, key=user).key == key_text(user)


@pytest.mark.django_db
def test_a_proxy_and_a_lazy_object_give_the_key_of_what_they_stand_for():
    user = get_user_model().objects.create_user("ada")
    deferred = get_user_model().objects.only("username").get()

    assert key_text(SimpleLazyObject(lambda: user)) == key_text(user)
    assert key_text(deferred) == key_text(user)


def test_an_unsaved_instance_is_no_key():
    with pytest.raises(InvalidKey, match=r"users\.User"):
        key_text(get_user_model()(username="ada"))
    with pytest.raises(InvalidKey, match=r"users\.User"):
        key_text(get_user_model()(pk=5))
