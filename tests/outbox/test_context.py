"""What the request carried reaches those who act on its events."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction
from django.template import Context, Template
from django.utils import timezone, translation

from django_strangler import publish_event, publish_events, subscribe
from django_strangler.brokers.base import Delivery
from django_strangler.context import Carried, restored
from django_strangler.events import Event
from django_strangler.exceptions import ConfigurationError, InvalidHeader
from django_strangler.inbox.decoding import read
from django_strangler.inbox.subscribers import registry
from django_strangler.models import OutboxEvent
from django_strangler.testing import drain

pytestmark = pytest.mark.django_db
SHIPPED = ["django_strangler.context.language", "django_strangler.context.timezone"]
MAIL = Template("{% load i18n tz %}{% translate 'Monday' %}, {{ at|date:'H:i' }}")

current: ContextVar[str] = ContextVar("tenant", default="none")


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    token = current.set(name)
    yield
    current.reset(token)


tenant = Carried(name="tenant", capture=current.get, restore=entered)
wrong = Carried(name="wrong", capture=lambda: "a\nb", restore=entered)
absent = Carried(name="absent", capture=lambda: None, restore=entered)


@pytest.fixture
def mails(monkeypatch) -> list[str]:
    """The texts that a subscriber writes, in whatever language is in force."""
    monkeypatch.setattr(registry, "_by_name", {})
    written: list[str] = []

    def write(event: Event) -> None:
        at = timezone.localtime(event.published_at)
        text = MAIL.render(Context({"at": at}))
        zone = timezone.get_current_timezone_name()
        written.append(f"{text.partition(',')[0]} {zone} {current.get()}")

    subscribe("payment.*", name="mails")(write)
    return written


def published() -> None:
    with (
        translation.override("de"),
        timezone.override("America/New_York"),
        entered("shop-7"),
        transaction.atomic(),
    ):
        publish_event("payment.completed", {"paymentId": 1})


def test_by_default_a_subscriber_writes_in_its_own_language(mails):
    published()
    drain()

    assert mails == ["Monday UTC none"]
    assert "strangler-context-language" not in OutboxEvent.objects.get().headers


def test_the_german_customer_gets_the_german_mail(mails, settings):
    settings.STRANGLER = {"CONTEXT": [*SHIPPED, f"{__name__}.tenant"]}

    published()
    drain()

    assert mails == ["Montag America/New_York shop-7"]
    # And nothing of it stays in the process.
    assert (translation.get_language(), current.get()) == ("en", "none")
    assert timezone.get_current_timezone_name() == "UTC"


def test_many_events_carry_it_too(settings):
    settings.STRANGLER = {"CONTEXT": [*SHIPPED, f"{__name__}.absent"]}

    with translation.override("fr"), transaction.atomic():
        publish_events([Event(type="a.b", payload=n) for n in range(2)])

    for row in OutboxEvent.objects.all():
        assert row.headers["strangler-context-language"] == "fr"
        assert "strangler-context-absent" not in row.headers


def test_it_survives_the_way_over_a_queue(settings):
    settings.STRANGLER = {"CONTEXT": SHIPPED}
    delivery = Delivery(
        1, 1, "a.b", "0197a2f4-7a9a-7000-8000-000000000001", "a.b", "", 0,
        {"strangler-context-language": "de", "strangler-key": "k"}, b"1", None,
    )  # fmt: skip

    event = read(delivery, max_bytes=100)

    assert event.headers == {"strangler-context-language": "de"}
    with restored(event.headers):
        assert translation.get_language() == "de"


@pytest.mark.parametrize("text", ["../../etc/passwd", "xx", "", "x" * 200, "/etc"])
def test_what_a_stranger_sends_is_no_language_and_no_zone(settings, text):
    settings.STRANGLER = {"CONTEXT": SHIPPED}
    headers = {
        "strangler-context-language": text,
        "strangler-context-timezone": text,
    }

    with restored(headers):
        assert translation.get_language() == "en"
        assert timezone.get_current_timezone_name() == "UTC"


def test_what_cannot_travel_is_refused_when_publishing(settings):
    settings.STRANGLER = {"CONTEXT": [f"{__name__}.wrong"]}

    with transaction.atomic(), pytest.raises(InvalidHeader, match="printable"):
        publish_event("a.b", 1)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.such.thing", "cannot be imported"),
        (f"{__name__}.entered", "is not a Carried"),
    ],
)
def test_a_wrong_name_is_told(settings, path, message):
    settings.STRANGLER = {"CONTEXT": [path]}

    with transaction.atomic(), pytest.raises(ConfigurationError, match=message):
        publish_event("a.b", 1)


def test_a_wrong_kind_of_value_fails_the_check(settings):
    settings.STRANGLER = {"CONTEXT": "language"}

    with pytest.raises(SystemCheckError, match="a list"):
        call_command("check")
