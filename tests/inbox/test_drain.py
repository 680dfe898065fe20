"""``testing.drain()``: what was published in a test is delivered in it."""

from __future__ import annotations

import pytest

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.testing import drain
from tests.inbox.factories import publish


@pytest.mark.django_db
def test_drain_delivers_inside_a_test(registry):
    seen: list[Event] = []
    subscribe("payment.*", name="seen")(seen.append)
    published = publish()

    totals = drain()

    assert totals.confirmed == 1
    assert [event.id for event in seen] == [published.id]


@pytest.mark.django_db
def test_drain_raises_what_a_subscriber_raised(registry):
    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    publish()

    with pytest.raises(ZeroDivisionError):
        drain()


@pytest.mark.django_db
def test_drain_leaves_errors_to_the_outbox_on_request(registry):
    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    publish()

    totals = drain(raise_errors=False)

    assert totals.retried == 1
