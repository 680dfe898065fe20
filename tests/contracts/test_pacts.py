"""Pact files of consumers, verified against what a view has left in the outbox."""

from __future__ import annotations

import json

import pytest
from django.db import transaction

from django_strangler import publish_event
from django_strangler.contracts import CannotJudge

from .conftest import TYPE, value

pytest.importorskip("pact", reason="pact-python is not installed")
from django_strangler.contracts.pacts import verify_pacts

pytestmark = [
    pytest.mark.django_db,
    # Pact leaves a socket of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def pact(tmp_path):
    """What a consumer's own test has written."""
    expected = {
        "description": "an order was placed",
        "pending": False,
        "type": "Asynchronous/Messages",
        "contents": {
            "contentType": "application/json",
            "encoded": False,
            "content": {"id": "x"},
        },
        "matchingRules": {"body": {"$.id": {"matchers": [{"match": "type"}]}}},
        "metadata": {"contentType": "application/json", "type": TYPE},
    }
    path = tmp_path / "billing-shop.json"
    path.write_text(
        json.dumps(
            {
                "consumer": {"name": "billing"},
                "provider": {"name": "shop"},
                "interactions": [expected],
                "metadata": {"pactSpecification": {"version": "4.0"}},
            }
        )
    )
    return path


def test_what_a_view_publishes_keeps_the_pact(world, pact):
    cls = world.declare(TYPE, value(id=str, note=str))

    def place() -> None:
        with transaction.atomic():
            publish_event(cls(id="a", note="b"), key="order:1")

    verify_pacts(pact, provider="shop", producers={"an order was placed": place})


def test_another_payload_breaks_it(world, pact):
    cls = world.declare(TYPE, value(id=int))

    def place() -> None:
        with transaction.atomic():
            publish_event(cls(id=7))

    with pytest.raises(RuntimeError):
        verify_pacts(pact, provider="shop", producers={"an order was placed": place})


def test_a_producer_that_publishes_nothing_verifies_nothing(world, pact):
    producers = {"an order was placed": lambda: None}

    with pytest.raises(CannotJudge, match="has left no event"):
        verify_pacts(pact, provider="shop", producers=producers)
