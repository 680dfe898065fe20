"""What ``manage.py check`` finds."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import include, path
from django.views import View

from django_strangler.http_idempotency import IdempotentMixin, idempotent
from django_strangler.http_idempotency.checks import check_steps


class Steps(IdempotentMixin, View):
    idempotency = {"mode": "steps"}


def view(request):
    return HttpResponse()


urlpatterns = [
    path("default/", idempotent(view)),
    path("free/", transaction.non_atomic_requests(idempotent(mode="steps")(view))),
    path("bound/", idempotent(mode="steps")(view)),
    path("in/", include([path("class/", Steps.as_view())])),
]


@pytest.fixture(autouse=True)
def urls(settings):
    settings.ROOT_URLCONF = __name__


def test_steps_inside_the_requests_transaction_are_an_error(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    found = check_steps(None)

    assert [each.id for each in found] == ["strangler_http_idempotency.E001"] * 2
    assert "'bound/'" in found[0].msg
    assert "'in/class/'" in found[1].msg


def test_without_atomic_requests_there_is_none():
    assert check_steps(None) == []
