"""Tokens: who may make them, and what is not believed."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory

from django_strangler.exceptions import ConfigurationError
from django_strangler.services import InvalidIdentity, issue_identity
from django_strangler.services import identity as module
from django_strangler.services.identity import (
    IdentityMiddleware,
    KeySet,
    identify,
    jwk_set,
    parse_jwk_set,
    verify,
)

from .conftest import new_private_key


@pytest.fixture
def keys(settings: Any, private_key: str) -> list[str]:
    settings.STRANGLER = {"IDENTITY": {"KEYS": [private_key], "AUDIENCE": "payments"}}
    return [private_key]


@pytest.fixture
def user() -> Any:
    return get_user_model()(pk=7, email="secret@example.com")


def checked(token: str, **options: Any) -> dict[str, Any]:
    given = {"audience": "payments", "issuer": "monolith", **options}
    return verify(token, parse_jwk_set(jwk_set()), **given)


def test_a_token_says_whom_it_is_for_and_nothing_else(keys, user):
    claims = checked(issue_identity(user, "payments"))

    assert claims["sub"] == "7"
    assert claims["exp"] - claims["iat"] == 60
    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "jti"}


def test_its_head_names_the_key_and_the_kind(keys, user):
    head = jwt.get_unverified_header(issue_identity(user, "payments"))

    assert head["alg"] == "EdDSA"
    assert head["typ"] == "strangler-identity+jwt"
    assert head["kid"] == jwk_set()["keys"][0]["kid"]


@pytest.mark.parametrize("nobody", [None, AnonymousUser()])
def test_nobody_has_no_token(keys, nobody):
    assert issue_identity(nobody, "payments") == ""


def test_a_user_who_was_deactivated_has_no_token(keys, user):
    user.is_active = False

    assert issue_identity(user, "payments") == ""


def test_staff_who_act_as_a_user_are_named(keys, user):
    token = issue_identity(user, "payments", act=get_user_model()(pk=1))

    assert checked(token)["act"] == {"sub": "1"}


def test_added_claims_cannot_change_what_it_stands_for(keys, user):
    token = issue_identity(user, "payments", claims={"sub": "1", "plan": "gold"})

    claims = checked(token)
    assert (claims["sub"], claims["plan"]) == ("7", "gold")


def test_too_many_claims_are_refused(keys, user):
    with pytest.raises(InvalidIdentity, match="2048"):
        issue_identity(user, "payments", claims={"roles": "x" * 2000})


def forged(claims: dict[str, Any], key: Any, algorithm: str, **head: Any) -> str:
    head = {"typ": module.TYPE, "kid": jwk_set()["keys"][0]["kid"], **head}
    return jwt.encode(claims, key, algorithm=algorithm, headers=head)


def good_claims() -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": "monolith",
        "aud": "payments",
        "sub": "7",
        "iat": now,
        "exp": now + 60,
        "jti": "x",
    }


def signed(settings_keys: list[str], **changes: Any) -> str:
    claims = {**good_claims(), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return forged(claims, settings_keys[0], "EdDSA")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "notifications"},
        {"aud": ["payments", "notifications"]},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"jti": None},
        {"exp": None},
        {"iat": None},
        {"exp": 1},
        {"iat": 2_000_000_000_0, "exp": 2_000_000_060_0},
        {"iat": 1_000_000_000, "exp": 4_000_000_000},
    ],
)
def test_a_claim_that_is_wrong_or_missing_is_not_believed(keys, changes):
    checked(signed(keys))

    with pytest.raises(InvalidIdentity):
        checked(signed(keys, **changes))


def test_nobody_else_s_signature_is_believed(keys):
    public = jwk_set()["keys"][0]
    raw = base64.urlsafe_b64decode(public["x"] + "=")
    for key, algorithm in (
        (new_private_key(), "EdDSA"),
        (raw, "HS256"),
        (None, "none"),
    ):
        with pytest.raises(InvalidIdentity):
            checked(forged(good_claims(), key, algorithm))


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "ä.ö.ü", "." * 3000, "a" * 3000])
def test_what_is_no_token_is_not_believed(keys, token):
    with pytest.raises(InvalidIdentity):
        checked(token)


def test_a_token_of_another_kind_is_not_believed(keys):
    with pytest.raises(InvalidIdentity, match="another kind"):
        checked(forged(good_claims(), keys[0], "EdDSA", typ="JWT"))


def test_clocks_may_differ_by_the_leeway(keys):
    now = int(time.time())

    checked(signed(keys, iat=now + 3, exp=now + 63))
    with pytest.raises(InvalidIdentity):
        checked(signed(keys, iat=now + 30, exp=now + 90))


def test_an_old_key_is_believed_while_it_is_listed(settings, user):
    old, new = new_private_key(), new_private_key()
    settings.STRANGLER = {"IDENTITY": {"KEYS": [old]}}
    token = issue_identity(user, "payments")

    settings.STRANGLER = {"IDENTITY": {"KEYS": [new, old]}}
    assert checked(token)
    assert checked(issue_identity(user, "payments"))
    settings.STRANGLER = {"IDENTITY": {"KEYS": [new]}}
    with pytest.raises(InvalidIdentity, match="not known"):
        checked(token)


def test_a_key_that_is_none_is_named_and_not_shown(settings):
    settings.STRANGLER = {"IDENTITY": {"KEYS": ["-----BEGIN s3cret-----"]}}

    with pytest.raises(ConfigurationError) as caught:
        jwk_set()

    assert "openssl genpkey" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_unknown_keys_are_fetched_once_in_a_while():
    fetched = []
    now = [0.0]

    def fetch() -> dict[str, Any]:
        fetched.append(now[0])
        return {"keys": []}

    keys = KeySet(fetch, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        keys.refreshed()

    assert fetched == [0.0, 30.0, 60.0, 90.0]


def request_with(token: str, method: str = "GET", path: str = "/charges") -> Any:
    headers = {"Strangler-Identity": token} if token else {}
    return RequestFactory().generic(method, path, headers=headers)


def test_the_middleware_sets_an_identity_or_refuses(keys, user):
    seen: list[Any] = []
    middleware = IdentityMiddleware(lambda request: seen.append(request.identity))

    middleware(request_with(issue_identity(user, "payments")))
    middleware(request_with(""))
    refused = middleware(request_with("a.b.c"))

    assert [each.subject for each in seen] == ["7", ""]
    assert (refused.status_code, refused["Content-Type"]) == (
        401,
        "application/problem+json",
    )


def test_a_token_for_an_unsafe_request_is_for_that_request_only(keys, user):
    token = issue_identity(user, "payments", method="POST", path="/charges/%C3%A4?x=1")

    assert identify(request_with(token, "POST", "/charges/ä")).subject == "7"
    for method, path in (("POST", "/refunds"), ("DELETE", "/charges/ä")):
        with pytest.raises(InvalidIdentity, match="another request"):
            identify(request_with(token, method, path))


def test_a_token_for_a_safe_request_allows_no_other(keys, user):
    token = issue_identity(user, "payments", method="GET", path="/charges")

    with pytest.raises(InvalidIdentity, match="another request"):
        identify(request_with(token, "POST"))


def test_a_token_may_be_good_for_once(keys, user, settings):
    given = {**settings.STRANGLER["IDENTITY"], "ONCE": "default"}
    settings.STRANGLER = {"IDENTITY": given}
    token = issue_identity(user, "payments", method="POST", path="/charges")

    identify(request_with(token, "POST"))

    with pytest.raises(InvalidIdentity, match="used before"):
        identify(request_with(token, "POST"))


def test_keys_are_read_from_where_the_monolith_publishes_them(
    serve, settings, user, private_key
):
    settings.STRANGLER = {"IDENTITY": {"KEYS": [private_key]}}
    token = issue_identity(user, "payments")
    published = json.dumps(jwk_set()).encode()

    def keys(talk: Any) -> None:
        while talk.read():
            talk.answer(published)

    server = serve(keys)
    settings.STRANGLER = {
        "IDENTITY": {"AUDIENCE": "payments", "KEYS_URL": f"{server.url}/keys.json"}
    }

    for _ in range(3):
        assert identify(request_with(token)).subject == "7"
    assert len(server.requests) == 1
