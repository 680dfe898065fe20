"""Class-based views, and those of Django REST framework."""

from __future__ import annotations

import pytest
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework import exceptions, permissions, throttling
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from django_strangler import publish_event
from django_strangler.http_idempotency import IdempotentMixin, idempotent
from django_strangler.http_idempotency.models import IdempotentRequest

from .calling import NOBODY, effects, pay, post, problem, user


class Plain(IdempotentMixin, View):
    idempotency = {"max_body": 1000}

    def get(self, request):
        return JsonResponse({"key": request.idempotency.key})

    def post(self, request):
        return pay(request)


def test_a_class_based_view_takes_effect_once(quick_db_of_keys):
    view = Plain.as_view()

    first, second = view(post()), view(post())

    assert first.content == second.content
    assert effects(quick_db_of_keys) == 1
    assert view(post(method="GET")).status_code == 200


def test_a_decorated_method_takes_effect_once(quick_db_of_keys):
    @method_decorator(idempotent(max_body=1000), name="post")
    class Decorated(View):
        def post(self, request):
            return pay(request)

    view = Decorated.as_view()

    assert view(post()).content == view(post()).content


def test_a_login_is_demanded_before_the_key(quick_db_of_keys):
    class Private(LoginRequiredMixin, Plain):
        raise_exception = False

    request = post(as_user=NOBODY)

    assert Private.as_view()(request).status_code == 302
    assert not IdempotentRequest.objects.using(quick_db_of_keys).exists()


class ByToken(BaseAuthentication):
    def authenticate(self, request):
        token = request.headers.get("Token")
        if token is None:
            raise exceptions.NotAuthenticated
        return user(int(token)), token

    def authenticate_header(self, request):
        return "Token"


class Polite(permissions.BasePermission):
    def has_permission(self, request, view):
        return "Rude" not in request.headers


class Once(throttling.BaseThrottle):
    def allow_request(self, request, view):
        return "Hasty" not in request.headers


class Pay(IdempotentMixin, APIView):
    authentication_classes = [ByToken]
    permission_classes = [Polite]
    throttle_classes = [Once]

    def post(self, request):
        publish_event("payment.completed", {"amount": request.data["amount"]})
        if request.data["amount"] < 0:
            raise exceptions.ValidationError("too little")
        if request.data["amount"] == 0:
            return Response({"amount": "nothing"}, status=400)
        return Response({"id": id(request)}, status=201)

    def get(self, request):
        return Response({"key": request.idempotency.key})


def send(view, amount=1, *, token="1", key="key-1", **headers):
    if token:
        headers["Token"] = token
    request = APIRequestFactory().post(
        "/pay/",
        {"amount": amount},
        format="json",
        headers={"Idempotency-Key": key, **headers},
    )
    response = view(request)
    if hasattr(response, "render"):
        response.render()
    return response


def test_a_view_of_rest_framework_takes_effect_once(quick_db_of_keys):
    view = Pay.as_view()

    first, second = send(view), send(view)

    assert (first.status_code, first.content) == (201, second.content)
    assert second["Idempotent-Replayed"] == "true"
    assert second["Allow"] == first["Allow"]
    assert effects(quick_db_of_keys) == 1


def test_the_scope_is_the_user_whom_the_token_stands_for(quick_db_of_keys):
    view = Pay.as_view()

    send(view, token="1")
    send(view, token="2")
    again = send(view, token="01")  # Another token of the first user.

    assert effects(quick_db_of_keys) == 2
    assert "Idempotent-Replayed" in again


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"token": ""}, 401), ({"Rude": "1"}, 403), ({"Hasty": "1"}, 429)],
)
def test_who_may_not_come_in_gets_no_answer_of_before(
    quick_db_of_keys, headers, status
):
    view = Pay.as_view()
    send(view)

    response = send(view, **headers)

    assert response.status_code == status
    assert "Idempotent-Replayed" not in response


def test_what_the_framework_makes_of_an_exception_is_not_kept(quick_db_of_keys):
    view = Pay.as_view()

    assert send(view, -1).status_code == 400
    assert effects(quick_db_of_keys) == 0
    assert send(view, 1).status_code == 201


def test_a_bad_request_that_is_returned_is_kept(quick_db_of_keys):
    view = Pay.as_view()
    send(view, 0)

    assert "Idempotent-Replayed" in send(view, 0)


def test_a_problem_comes_through_the_framework_as_it_is(quick_db_of_keys):
    view = Pay.as_view()
    send(view, 1)

    assert problem(send(view, 2)) == "key-reused"


def test_an_action_of_a_view_set_takes_effect_once(quick_db_of_keys):
    class Payments(IdempotentMixin, ViewSet):
        authentication_classes = [ByToken]

        def create(self, request):
            publish_event("payment.completed", {})
            return Response({"id": id(request)}, status=201)

    view = Payments.as_view({"post": "create"})

    assert send(view).content == send(view).content
    assert effects(quick_db_of_keys) == 1


def test_a_function_of_rest_framework_takes_effect_once(quick_db_of_keys):
    @api_view(["POST"])
    @authentication_classes([ByToken])
    @idempotent
    def pay(request):
        publish_event("payment.completed", {"amount": request.data["amount"]})
        return Response({"key": request.idempotency.key, "id": id(request)})

    assert send(pay).content == send(pay).content
    assert effects(quick_db_of_keys) == 1


def test_a_method_that_the_view_does_not_have_is_refused_as_ever(quick_db_of_keys):
    request = APIRequestFactory().patch(
        "/pay/", {}, headers={"Token": "1", "Idempotency-Key": "k"}
    )

    assert Pay.as_view()(request).status_code == 405
