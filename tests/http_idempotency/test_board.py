"""What the board shows of idempotency keys."""

from __future__ import annotations

import pytest
from django.urls import include, path
from payments import views as payments

from django_strangler.http_idempotency import idempotent, watching
from django_strangler.http_idempotency.models import State
from django_strangler.monitoring import board
from django_strangler.monitoring.board import Verdict

from .calling import pay
from .test_admin import make

pytestmark = pytest.mark.django_db


def view(request):
    return pay(request)


view.__module__ = payments.__name__
urlpatterns = [path("shop/", include([path("pay/<int:pk>/", idempotent(view))]))]


def test_what_was_answered_is_not_shown(django_assert_num_queries):
    make(State.FINISHED)
    make(State.STARTED, key="order-18", late=False)

    with django_assert_num_queries(1):
        assert list(watching.shown()) == []


def test_an_unknown_outcome_holds_the_domain_of_its_view(settings):
    settings.ROOT_URLCONF = __name__
    for key in ("order-18", "order-19"):
        make(key=key, route="shop/pay/<int:pk>/")

    (found,) = board.rows("payments")

    assert found.verdict is Verdict.HOLD
    assert found.reasons == (
        "Requests with an idempotency key to shop/pay/<int:pk>/ whose outcome is "
        "unknown: 2. Open Idempotency keys in the admin and decide.",
    )


def test_one_whose_view_is_gone_holds_as_well(settings, django_assert_num_queries):
    settings.ROOT_URLCONF = __name__
    make(route="gone/")

    with django_assert_num_queries(1):
        (found,) = watching.shown()

    assert found.domain == ""
    assert found.hold
