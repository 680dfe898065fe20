from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from payments.models import Payment
from users.models import User

from django_strangler.models import OutboxEvent

MakeUser = Callable[..., User]
MakePayment = Callable[..., Payment]
Post = Callable[..., Any]


@pytest.fixture
def make_user(db: None) -> MakeUser:
    numbers = count(1)

    def make(**fields: Any) -> User:
        name = f"user{next(numbers)}@example.com"
        fields = {"username": name, "email": name, **fields}
        return User.objects.create_user(**fields)

    return make


@pytest.fixture
def make_payment(make_user: MakeUser) -> MakePayment:
    def make(**fields: Any) -> Payment:
        if "user" not in fields:
            fields["user"] = make_user()
        return Payment.objects.create(
            **{"amount": Decimal("12.50"), "currency": "EUR", **fields}
        )

    return make


@pytest.fixture
def post(
    client: Client,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> Post:
    """Post JSON to a view and let what waits for COMMIT happen."""

    def post(view: str, data: Any = None, **kwargs: Any) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(
                reverse(view, kwargs=kwargs), data, content_type="application/json"
            )

    return post


@pytest.fixture
def get(client: Client) -> Post:
    def get(view: str, query: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        return client.get(reverse(view, kwargs=kwargs), query)

    return get


@pytest.fixture
def published(db: None) -> Callable[[], list[tuple[str, Any]]]:
    """What the application has published: types and payloads, oldest first."""

    def published() -> list[tuple[str, Any]]:
        events = OutboxEvent.objects.order_by("id")
        return [(event.type, event.payload) for event in events]

    return published
