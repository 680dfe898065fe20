from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from django_strangler import evidence
from django_strangler.facade import Route, route
from django_strangler.facade.routes import routes
from django_strangler.testing import override_flag
from tests.services_client.conftest import nothing_known  # noqa: F401
from tests.services_client.servers import Handler, Server, serving

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_strangler.facade.FacadeMiddleware",
]


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Server]]:
    with contextlib.ExitStack() as stack:
        yield lambda handler: stack.enter_context(serving(handler))


MakeRoute = Callable[..., Route]


@pytest.fixture(autouse=True)
def no_routes() -> Iterator[None]:
    """Only those of the test."""
    before = dict(routes.by_name)
    for name in before:
        routes.remove(name)
    yield
    for name in list(routes.by_name):
        routes.remove(name)
    for each in before.values():
        routes.add(each)


@pytest.fixture
def make_route(settings: Any) -> MakeRoute:
    """make_route(server, …): /api/payments/ for whom "payments-v2" is on."""
    settings.ROOT_URLCONF = "tests.facade.urls"
    settings.MIDDLEWARE = MIDDLEWARE
    settings.ALLOWED_HOSTS = ["*"]

    def make(server: Server | str, prefix: str = "/api/payments/", **options: Any):
        url = server if isinstance(server, str) else server.url
        service_options = options.pop("service", {})
        settings.STRANGLER = {
            **settings.STRANGLER,
            "SERVICES": {"payments": {"URL": url, **service_options}},
        }
        if {"regex", "view_names"} & set(options):
            prefix = ""
        name = options.pop("name", "payments-api")
        return route(name, prefix, service="payments", flag="payments-v2", **options)

    return make


@pytest.fixture
def on() -> Iterator[None]:
    with override_flag("payments-v2"):
        yield


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool]]:
    """The evidence noted in this test: source, side, whether it was well."""
    found: list[tuple[str, str, bool]] = []

    def note(source: str, *, side: str, ok: bool = True, seconds: Any = None) -> None:
        found.append((source, side, ok))

    monkeypatch.setattr(evidence, "note", note)
    return found


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)
