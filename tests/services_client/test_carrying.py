"""What a request carried, on the other side of a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils import translation

from django_strangler.context import Carried
from django_strangler.services import ContextMiddleware

from .servers import fine

current: ContextVar[str | None] = ContextVar("tenant", default=None)


@contextmanager
def entered(text: str) -> Iterator[None]:
    if text == "gone":
        raise LookupError(text)
    token = current.set(text)
    try:
        yield
    finally:
        current.reset(token)


tenant = Carried(name="tenant_name", capture=current.get, restore=entered)
CARRIED = ["django_strangler.context.language", f"{__name__}.tenant"]


@pytest.fixture
def carried(settings: Any) -> None:
    settings.STRANGLER = {
        **settings.STRANGLER,
        "CONTEXT": CARRIED,
        "SERVICES": {
            **settings.STRANGLER.get("SERVICES", {}),
            "*": {"TRUSTED_PROXIES": ["10.0.0.0/8"]},
        },
    }


def received(address: str = "10.1.2.3", **headers: str) -> tuple[str, str | None]:
    """Language and tenant of a view that is asked with these headers."""
    found = []

    def view(request: HttpRequest) -> HttpResponse:
        found.append((translation.get_language(), current.get()))
        return HttpResponse()

    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=address)
    ContextMiddleware(view)(request)
    assert current.get() is None
    return found[0]


def test_a_call_carries_what_is_in_force(serve, connect, settings):
    server = serve(fine)
    payments = connect(server)
    settings.STRANGLER = {**settings.STRANGLER, "CONTEXT": CARRIED}

    with translation.override("de"), entered("Zürich: 100%"):
        payments.get("/")

    (request,) = server.requests
    assert request.get("Strangler-Context-Language") == "de"
    assert request.get("Strangler-Context-Tenant-Name") == "Z%C3%BCrich: 100%25"


def test_without_the_setting_nothing_is_carried(serve, connect):
    server = serve(fine)

    connect(server).get("/")

    assert b"strangler-context" not in server.requests[0].head.lower()


def test_the_service_acts_in_it(carried):
    headers = {
        "Strangler-Context-Language": "de",
        "Strangler-Context-Tenant-Name": "Z%C3%BCrich: 100%25",
    }

    assert received(**headers) == ("de", "Zürich: 100%")
    assert received() == (translation.get_language(), None)


def test_a_stranger_is_not_believed(carried):
    forged = {"Strangler-Context-Tenant-Name": "somebody-else"}

    assert received("203.0.113.9", **forged)[1] is None


def test_nobody_acts_for_a_tenant_that_is_not_there(carried):
    with pytest.raises(LookupError):
        received(**{"Strangler-Context-Tenant-Name": "gone"})
