"""What a subscriber does when deliveries come twice, in disorder, or to a crash."""

from __future__ import annotations

import pytest
from reporting.models import Activity

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.exceptions import InvalidSubscriber
from django_strangler.testing import deliver
from tests.inbox.conftest import registry

__all__ = ["registry"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("registry")]
DAY = "2026-01-01"
EVENTS = [Event(type="payment.completed", payload=number) for number in (1, 2, 3)]


@pytest.fixture
def mails(registry) -> list[int]:
    """What a subscriber has sent; besides, each event leaves a row."""
    sent: list[int] = []

    @subscribe("payment.*", name="receipts")
    def receipts(event: Event) -> None:
        Activity.objects.create(day=DAY, type=f"{event.payload}")
        sent.append(event.payload)

    return sent


def rows() -> list[str]:
    return list(Activity.objects.order_by("type").values_list("type", flat=True))


def test_events_come_in_the_order_given(mails):
    assert deliver(reversed(EVENTS)) == 3

    assert mails == [3, 2, 1]


def test_an_event_that_comes_twice_is_handled_once(mails):
    assert deliver(EVENTS, times=2) == 3

    assert mails == [1, 2, 3]
    assert rows() == ["1", "2", "3"]


def test_a_crash_before_the_ack_repeats_nothing(mails):
    assert deliver(EVENTS[:1], crash="before ack") == 1

    assert mails == [1]


def test_a_crash_before_the_commit_repeats_what_is_outside_the_database(mails):
    assert deliver(EVENTS[:1], crash="before commit") == 2

    assert mails == [1, 1]
    assert rows() == ["1"]


def test_a_crash_with_an_event_that_was_handled_before_calls_nobody(mails):
    deliver(EVENTS[:1])

    assert deliver(EVENTS[:1], crash="before commit") == 0


def test_only_the_named_subscriber_gets_them(mails):
    @subscribe("#", name="others")
    def others(event: Event) -> None:
        raise AssertionError

    assert deliver(EVENTS, to="receipts") == 3
    with pytest.raises(InvalidSubscriber, match="no subscriber 'receipt'"):
        deliver(EVENTS, to="receipt")


def test_a_subscriber_whose_flag_is_off_gets_nothing(registry):
    @subscribe("payment.*", name="new", flag="moved")
    def new(event: Event) -> None:
        raise AssertionError

    assert deliver(EVENTS) == 0


def test_what_a_subscriber_raises_is_raised(registry):
    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        deliver(EVENTS)


def test_a_misspelt_crash_is_an_error(mails):
    with pytest.raises(ValueError, match="before commit"):
        deliver(EVENTS, crash="before the commit")
