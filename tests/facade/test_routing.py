"""Whom a route serves from where, and what the response says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import translation

from django_strangler import feature_flags
from django_strangler.facade import InvalidRoute, nginx, route
from django_strangler.facade.planning import plan
from tests.services_client.servers import Talk

pytestmark = pytest.mark.django_db


def modern(talk: Talk) -> None:
    """The service: says what it was asked, as JSON."""
    while request := talk.read():
        said = {
            "side": "modern",
            "line": request.line,
            "body": request.body.decode("latin-1"),
            "headers": [
                each.decode("latin-1") for each in request.head.split(b"\r\n")[1:]
            ],
        }
        if request.line.startswith("HEAD"):
            talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        else:
            talk.answer(
                json.dumps(said).encode(), "200 OK", "Content-Type: application/json"
            )


@pytest.mark.parametrize("path", ["/api/payments/7", "/strangler/decide/payments-api/"])
def test_a_decision_lets_nginx_keep_its_connection(
    serve, make_route, client, on, settings, path
):
    make_route(serve(modern), data_path="accel")
    settings.MIDDLEWARE = ["django_strangler.facade.FacadeMiddleware"]

    response = client.get(path, headers={"Strangler-Original-URI": "/api/payments/7"})

    # An answer without a length goes in chunks, and nginx does not read them.
    assert (response["Strangler-Side"], response["Content-Length"]) == ("modern", "0")


def test_legacy_serves_while_the_flag_is_off(serve, make_route, client, notes):
    server = serve(modern)
    make_route(server)

    response = client.get("/api/payments/7")

    assert response.json()["side"] == "legacy"
    assert response["Strangler-Side"] == "legacy"
    assert server.connections == 0
    assert client.cookies == {}
    assert notes == [("route:payments-api", "legacy", True)]


def test_the_service_serves_those_whose_flag_is_on(
    serve, make_route, client, on, notes
):
    make_route(serve(modern))

    response = client.get("/api/payments/7?x=1&y=%2F")

    assert response.json()["line"] == "GET /api/payments/7?x=1&y=%2F HTTP/1.1"
    assert response["Strangler-Side"] == "modern"
    assert notes == [("route:payments-api", "modern", True)]


def test_paths_without_a_route_are_as_before(serve, make_route, client, on, notes):
    make_route(serve(modern))

    response = client.get("/plain/")

    assert response.json()["side"] == "legacy"
    assert "Strangler-Side" not in response
    assert notes == []


def test_each_user_has_a_side(serve, make_route, on_for):
    make_route(serve(modern))
    sides = {}
    for user in on_for:
        client = Client()
        client.force_login(user)
        sides[user.pk] = client.get("/api/payments/").json()["side"]
        assert client.get("/api/payments/")["Strangler-Side"] == sides[user.pk]

    assert sides == {
        user.pk: "modern"
        if feature_flags.is_enabled("payments-v2", user.pk)
        else "legacy"
        for user in on_for
    }
    assert set(sides.values()) == {"legacy", "modern"}


@pytest.fixture
def on_for() -> list[Any]:
    feature_flags.set_rollout("payments-v2", 50, by="me", why="test")
    users = get_user_model().objects
    return [users.create_user(username=f"u{n}", email=f"u{n}@x.com") for n in range(12)]


def test_a_rollback_is_seen_by_the_next_request(serve, make_route, client):
    make_route(serve(modern))
    feature_flags.set_rollout("payments-v2", 100, by="me", why="go")
    before = client.get("/api/payments/")["Strangler-Side"]

    feature_flags.set_rollout("payments-v2", 0, by="me", why="back")

    assert (before, client.get("/api/payments/")["Strangler-Side"]) == (
        "modern",
        "legacy",
    )


def test_a_visitor_has_a_cookie_and_keeps_a_side(serve, make_route):
    make_route(serve(modern))
    feature_flags.set_rollout("payments-v2", 50, by="me", why="test")
    sides = set()
    for _ in range(20):
        client = Client()
        assert client.get("/api/payments/")["Strangler-Side"] == "legacy"
        again = [client.get("/api/payments/")["Strangler-Side"] for _ in range(3)]
        assert len(set(again)) == 1
        sides |= set(again)

    assert sides == {"legacy", "modern"}


def test_the_cookie_follows_the_user(serve, make_route, client):
    make_route(serve(modern))
    feature_flags.set_rollout("payments-v2", 50, by="me", why="test")
    user = get_user_model().objects.create_user(username="u", email="u@x.com")

    client.get("/api/payments/")
    visitor = client.cookies["strangler_id"].value
    client.force_login(user)
    client.get("/api/payments/")
    bound = client.cookies["strangler_id"].value
    client.logout()
    client.cookies["strangler_id"] = bound
    client.get("/api/payments/")

    assert visitor.startswith("anon-")
    assert bound.startswith(f"{user.pk}~")
    assert client.cookies["strangler_id"].value.startswith("anon-")


def test_a_forged_cookie_is_nobody_s(serve, make_route, client):
    make_route(serve(modern))
    feature_flags.set_rollout("payments-v2", 50, by="me", why="test")
    inside = next(
        n for n in range(100) if feature_flags.is_enabled("payments-v2", str(n))
    )
    client.cookies["strangler_id"] = f"{inside}~forged"

    assert client.get("/api/payments/")["Strangler-Side"] == "legacy"


@pytest.mark.parametrize(
    ("options", "path", "line"),
    [
        ({"rewrite": "/v2/"}, "/api/payments/7?x=%2F", "/v2/7?x=%2F"),
        ({"rewrite": lambda raw: f"/x{raw}"}, "/api/payments/7", "/x/api/payments/7"),
        ({"regex": r"/[a-z]{2}/pay/"}, "/de/pay/7", "/de/pay/7"),
        ({"view_names": ["by-name"]}, "/by-name/7", "/by-name/7"),
    ],
)
def test_routes_by_other_means(serve, make_route, client, on, options, path, line):
    make_route(serve(modern), **options)

    response = client.get(path)

    assert response["Strangler-Side"] == "modern"
    assert response.json()["line"] == f"GET {line} HTTP/1.1"


def test_a_view_by_name_is_legacy_s_with_all_that_belongs_to_it(
    serve, make_route, client, notes
):
    make_route(serve(modern), view_names=["by-name"])

    response = client.post("/by-name/7", "x", content_type="text/plain")

    assert response.json()["body"] == "x"
    assert response["Strangler-Side"] == "legacy"
    assert notes == [("route:payments-api", "legacy", True)]


def test_other_methods_than_the_route_s_are_legacy_s(serve, make_route, client, on):
    make_route(serve(modern), methods=["get"])

    assert client.get("/api/payments/")["Strangler-Side"] == "modern"
    response = client.post("/api/payments/", "x", content_type="text/plain")
    assert response["Strangler-Side"] == "legacy"


def test_whom_the_flag_is_asked_for_is_the_route_s_to_say(serve, make_route, client):
    make_route(serve(modern), subject=lambda request: request.GET.get("tenant"))
    feature_flags.set_rollout("payments-v2", 0, by="me", why="test")
    feature_flags.include("payments-v2", ["acme"], by="me", why="test")

    assert client.get("/api/payments/?tenant=acme")["Strangler-Side"] == "modern"
    assert client.get("/api/payments/?tenant=other")["Strangler-Side"] == "legacy"
    assert client.cookies == {}


def test_the_longest_prefix_counts(serve, make_route, client, on):
    make_route(serve(modern), name="all")
    make_route(serve(modern), "/api/payments/refunds/", name="refunds", rewrite="/r/")

    assert client.get("/api/payments/refunds/1").json()["line"].split()[1] == "/r/1"


@pytest.mark.parametrize(
    "options",
    [
        {"name": "Bad Name"},
        {"prefix": "api/"},
        {"prefix": "/api"},
        {"prefix": "/a%20b/"},
        {"prefix": ""},
        {"prefix": "/a/", "regex": "/b"},
        {"prefix": "", "regex": "("},
        {"rewrite": "v2/"},
        {"data_path": "teleport"},
    ],
)
def test_a_route_that_cannot_work_is_refused(options):
    given = {"name": "x", "prefix": "/x/", **options}
    with pytest.raises(InvalidRoute):
        route(given.pop("name"), given.pop("prefix"), service="s", flag="f", **given)


def test_two_routes_of_a_name_are_refused(make_route):
    make_route("http://127.0.0.1:9")

    with pytest.raises(InvalidRoute, match="already"):
        make_route("http://127.0.0.1:9", "/other/")


@pytest.mark.parametrize(
    "path",
    [
        "/api/payments/../admin/",
        "/api/payments/%2e%2e/admin/",
        "/api/payments/..%2fadmin/",
        "/api/payments/..%5Cadmin/",
        "/api/payments/a/./b",
        "/api/payments/..;/admin",
        "/api/payments/a%00b",
        "/api/payments/a%0d%0ab",
        "/api%2Fpayments/7",
    ],
)
def test_paths_that_may_lead_elsewhere_stay_with_legacy(
    serve, make_route, client, on, path
):
    server = serve(modern)
    make_route(server)

    client.get("/", RAW_URI=path, PATH_INFO=_decoded(path))

    assert server.requests == []


def _decoded(path: str) -> str:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(path).decode("latin-1")


@pytest.mark.parametrize(
    "path",
    [
        "/api/payments/a%2Fb",
        "/api/payments/%c3%a4",
        "/api/payments/a%20b;c=d",
        "/api/payments/...",
        "/api/payments/%7e",
    ],
)
def test_paths_reach_the_service_as_they_came(serve, make_route, client, on, path):
    server = serve(modern)
    make_route(server)

    client.get(
        "/", RAW_URI=f"{path}?q=%2f", PATH_INFO=_decoded(path), QUERY_STRING="q=%2f"
    )

    assert server.requests[0].line == f"GET {path}?q=%2f HTTP/1.1"


def test_a_server_that_keeps_no_copy_of_the_path_still_serves(
    serve, make_route, client, on
):
    server = serve(modern)
    make_route(server)

    client.get("/api/payments/ä b")

    assert server.requests[0].line == "GET /api/payments/%C3%A4%20b HTTP/1.1"


def test_a_flag_store_that_is_down_means_legacy(serve, make_route, client, monkeypatch):
    from django_strangler.feature_flags import snapshot

    make_route(serve(modern))
    monkeypatch.setattr(snapshot, "current", lambda: None)

    assert client.get("/api/payments/")["Strangler-Side"] == "legacy"


def test_a_subject_that_is_none_means_legacy(serve, make_route, client):
    make_route(serve(modern), subject=lambda request: object())
    feature_flags.set_rollout("payments-v2", 50, by="me", why="test")

    assert client.get("/api/payments/")["Strangler-Side"] == "legacy"


@pytest.fixture
def carrying(settings) -> None:
    carried = {"CONTEXT": ["django_strangler.context.language"]}
    settings.STRANGLER = {**settings.STRANGLER, **carried}


def test_the_service_learns_the_language_and_not_from_the_client(
    serve, make_route, client, on, carrying
):
    server = serve(modern)
    make_route(server)

    with translation.override("de"):
        client.get("/api/payments/7", headers={"Strangler-Context-Language": "fr"})

    (request,) = server.requests
    assert request.all("Strangler-Context-Language") == ["de"]


def test_nginx_lets_no_client_say_what_it_carries(make_route, carrying):
    make_route("http://127.0.0.1:9")
    feature_flags.set_rollout("payments-v2", 10)

    text = nginx.render(plan("split"))

    assert 'proxy_set_header Strangler-Context-Language "";' in text
