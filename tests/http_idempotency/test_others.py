"""The same five questions to this app and to the two packages that one moves from."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.http import JsonResponse
from django.test import Client
from django.test.client import ClientHandler
from django.urls import path
from idempotency_key.decorators import idempotency_key
from rest_framework.decorators import api_view
from rest_framework.response import Response
from users.models import User

from django_strangler import publish_event
from django_strangler.http_idempotency import idempotent
from django_strangler.http_idempotency.testing import _close_all
from django_strangler.models import OutboxEvent

KEY = "6c1f6a4e-62b8-4a5e-8f9b-0e5a8d6f3c11"
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
meanwhile: list[Any] = []  # What happens while the view runs.


def act() -> dict[str, str]:
    if meanwhile:
        meanwhile.pop()()
    with transaction.atomic():
        publish_event("payment.completed", {})
    return {"payment": str(uuid4())}


def view(request: Any) -> JsonResponse:
    return JsonResponse(act(), status=201)


def rest_view(request: Any) -> Response:
    return Response(act(), status=201)


class Died(Exception):
    pass


class Dying:
    """Ends the process between the view and what the package does after it."""

    dies = False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        if Dying.dies:
            Dying.dies = False
            raise Died
        return response


OURS, KEYS, REST = "ours", "django-idempotency-key", "djangorestframework-…"


@pytest.fixture(params=[OURS, KEYS, REST])
def package(request, settings, monkeypatch):
    request.getfixturevalue("_django_db_helper")
    settings.ROOT_URLCONF = __name__
    middleware = [each for each in settings.MIDDLEWARE if "Csrf" not in each]
    urlpatterns.clear()
    if request.param == OURS:
        chosen = idempotent(wait=0)(view)
    elif request.param == KEYS:
        middleware.append("idempotency_key.middleware.ExemptIdempotencyKeyMiddleware")
        chosen = idempotency_key(view)
    else:
        app = "rest_framework_idempotency_key"
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, app]
        settings.IDEMPOTENCY_KEY_LOCK_TIMEOUT = 60
        middleware.append(f"{app}.middleware.IdempotencyKeyMiddleware")
        from rest_framework_idempotency_key.decorators import (
            simple_idempotency_key_method_ex,
        )
        from rest_framework_idempotency_key.models import IdempotencyKey

        with connection.schema_editor() as editor:
            editor.create_model(IdempotencyKey)
        once = simple_idempotency_key_method_ex(request_getter=lambda args: args[0])
        chosen = api_view(["POST"])(once(rest_view))
    settings.MIDDLEWARE = [*middleware, f"{__name__}.Dying"]
    urlpatterns.append(path("pay/", chosen))
    monkeypatch.setattr(handler, "_middleware_chain", None)
    yield str(request.param)
    if request.param == REST:
        with connection.schema_editor() as editor:
            editor.delete_model(IdempotencyKey)


urlpatterns: list[Any] = []
handler = ClientHandler(enforce_csrf_checks=False)


def log_in(name: str) -> Client:
    client = Client(raise_request_exception=False)
    # One server for all of them: one package keeps its keys in the middleware.
    client.handler = handler
    user, _ = User.objects.get_or_create(username=name)
    client.force_login(user)
    return client


def send(client: Client | str = "ada", amount: int = 1) -> Any:
    if isinstance(client, str):
        client = log_in(client)
    headers = {"Idempotency-Key": KEY}
    return client.post("/pay/", {"amount": amount}, "application/json", headers=headers)


def effects() -> int:
    return OutboxEvent.objects.count()


def test_the_same_request_twice(package):
    first, second = send(), send()

    assert effects() == 1
    assert json.loads(second.content) == json.loads(first.content)
    assert second.status_code == {OURS: 201, KEYS: 409, REST: 201}[package]


def test_another_body_under_the_key(package):
    send(amount=1)
    second = send(amount=2)

    assert (second.status_code, effects()) == {
        OURS: (422, 1),
        KEYS: (201, 2),  # Another amount is another key: it is charged as well.
        REST: (409, 1),
    }[package]


def test_another_user_with_the_key(package):
    first, second = send("ada"), send("bob")

    same = json.loads(first.content) == json.loads(second.content)
    # Bob is given what Ada was answered.
    assert same == {OURS: False, KEYS: True, REST: True}[package]


def test_the_same_request_at_the_same_time(package):
    statuses = []
    client = log_in("ada")

    def another() -> None:
        def run() -> None:
            statuses.append(send(client).status_code)
            _close_all()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    meanwhile.append(another)
    send(client)

    assert (statuses, effects()) == {
        OURS: ([409], 1),
        KEYS: ([201], 2),  # Both run: its lock is held for the lookup only.
        REST: ([500], 1),  # SQLite in memory does not wait; elsewhere 409.
    }[package]


def test_a_process_that_dies_after_the_view(package):
    Dying.dies = True
    send()

    send()

    # The effect was committed, and with one of them nobody remembers that.
    assert effects() == {OURS: 1, KEYS: 2, REST: 1}[package]
