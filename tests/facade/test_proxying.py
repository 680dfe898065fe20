"""Through Django: what reaches the service, and who answers when it does not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from io import BytesIO, RawIOBase
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from django_strangler.services.client import service
from tests.services_client.conftest import new_private_key
from tests.services_client.servers import Talk, fine
from tests.services_client.test_hostile import (
    drips_its_body,
    hangs_before_headers,
    resets,
    says_no_http,
    switches_protocols,
)

pytestmark = pytest.mark.django_db
PATH = "/api/payments/7"
FAST = {"TIMEOUT": 0.4}
SENT = {"TIMEOUT": 3.0}  # Long enough for what has to arrive.


def post(client: Client, **headers: str) -> Any:
    return client.post(
        PATH, b'{"n": 1}', content_type="application/json", headers=headers
    )


def answers(status: str) -> Callable[[Talk], None]:
    def handler(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"modern", status)

    return handler


SICK = [
    hangs_before_headers,
    drips_its_body,
    resets,
    says_no_http,
    switches_protocols,
    answers("500 Oops"),
    answers("502 Bad Gateway"),
    answers("503 Away"),
]


@pytest.mark.parametrize("handler", SICK)
def test_a_safe_request_falls_back(serve, make_route, client, on, notes, handler):
    make_route(serve(handler), service=FAST)

    response = client.get(PATH)

    assert response.json()["side"] == "legacy"
    assert response["Strangler-Side"] == "legacy"
    assert notes == [
        ("route:payments-api", "modern", False),
        ("route:payments-api", "legacy", True),
    ]


@pytest.mark.parametrize("handler", SICK[:5])
def test_an_unsafe_request_that_was_sent_is_not_sent_again(
    serve, make_route, client, on, notes, handler
):
    server = serve(handler)
    make_route(server, service=SENT)

    response = post(client)

    assert response.status_code in (502, 504)
    assert response["Content-Type"] == "application/problem+json"
    assert "not known whether" in response.json()["detail"]
    assert response["Strangler-Side"] == "modern"
    assert len(server.requests) == 1
    assert notes == [("route:payments-api", "modern", False)]


@pytest.mark.parametrize("handler", SICK[5:])
def test_the_service_s_own_word_on_an_unsafe_request_goes_through(
    serve, make_route, client, on, handler
):
    make_route(serve(handler))

    response = post(client)

    assert (response.status_code >= 500, response.content) == (True, b"modern")


def test_an_unsafe_request_that_cannot_have_arrived_falls_back(
    make_route, client, on, notes
):
    make_route("http://127.0.0.1:9")

    response = post(client)

    assert response.json() == {
        "side": "legacy",
        "method": "POST",
        "path": PATH,
        "body": '{"n": 1}',
        "size": 8,
    }


def test_a_large_one_falls_back_with_its_whole_body(make_route, client, on):
    make_route("http://127.0.0.1:9")

    response = client.post(PATH, b"x" * 1_000_000, content_type="text/plain")

    assert (response.json()["side"], response.json()["size"]) == ("legacy", 1_000_000)


def test_an_open_breaker_means_legacy_for_everybody(serve, make_route, client, on):
    server = serve(answers("503 Away"))
    make_route(server)
    for _ in range(5):
        client.get(PATH)

    assert post(client).json()["side"] == "legacy"

    assert len(server.requests) == 5


@pytest.mark.parametrize("handler", SICK)
def test_a_key_that_both_sides_honour_allows_the_fallback(
    serve, make_route, client, on, handler
):
    make_route(serve(handler), idempotent=True, service=FAST)

    response = post(client, Idempotency_Key="k-1")

    assert response.json()["side"] == "legacy"
    assert response.json()["body"] == '{"n": 1}'


def test_a_key_that_the_route_does_not_honour_is_no_reason(
    serve, make_route, client, on
):
    make_route(serve(resets))

    assert post(client, Idempotency_Key="k-1").status_code == 502


def test_without_fallback_the_failure_is_shown(make_route, client, on):
    make_route("http://127.0.0.1:9", fallback=False)

    response = client.get(PATH)

    assert response.status_code == 503
    assert "not carried out" in response.json()["detail"]
    assert response["Strangler-Side"] == "modern"


@pytest.mark.slow
def test_two_gigabytes_come_through_in_bounded_memory(serve, make_route, client, on):
    size = 2_000_000_000

    def long(talk: Talk) -> None:
        talk.read()
        talk.say(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 1_000_000):
            talk.say(b"x" * 1_000_000)

    make_route(serve(long), service={"STREAM_TIMEOUT": 300})
    tracemalloc.start()
    try:
        response = client.get(PATH)
        received = sum(map(len, response.streaming_content))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert received == size
    assert response["Content-Length"] == str(size)
    assert peak < 4_000_000
    assert service("payments").breaker.slots.taken == 0


@pytest.mark.slow
def test_an_upload_of_200_mb_goes_through_in_bounded_memory(
    serve, make_route, client, on
):
    size = 200_000_000
    received = 0

    def swallow(talk: Talk) -> None:
        nonlocal received
        while received < size:
            more = talk.sock.recv(1 << 20)
            received += len(more)
        talk.answer(b"thanks")

    make_route(serve(swallow))
    zeros = _Endless(size)
    tracemalloc.start()
    try:
        response = client.generic(
            "POST",
            PATH,
            **{"wsgi.input": zeros, "CONTENT_LENGTH": str(size)},
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert response.content == b"thanks"
    assert received >= size
    assert peak < 4_000_000


class _Endless(RawIOBase):
    """A body that is made while it is read."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        size = min(size if size >= 0 else self.left, self.left)
        self.left -= size
        return b"\0" * size


def test_a_body_in_chunks_without_a_length_goes_through(serve, make_route, client, on):
    server = serve(fine)
    make_route(server)

    client.generic(
        "POST",
        PATH,
        **{
            "wsgi.input": BytesIO(b"abc"),
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": "",
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )

    assert server.requests[0].body == b"3\r\nabc\r\n0\r\n\r\n"


def test_a_client_that_leaves_in_its_upload_is_not_the_service_s_fault(
    serve, make_route, client, on, notes
):
    make_route(serve(lambda talk: talk.hang() if not talk.read() else None))
    for _ in range(6):
        response = client.generic(
            "POST",
            PATH,
            **{"wsgi.input": BytesIO(b"x" * 1000), "CONTENT_LENGTH": "1000000"},
        )
        assert response.status_code == 400

    assert notes == []
    assert service("payments").breaker.circuit.state.value == "closed"
    assert service("payments").breaker.slots.taken == 0


def test_a_client_that_leaves_in_the_answer_holds_nothing(
    serve, make_route, client, on
):
    def long(talk: Talk) -> None:
        talk.read()
        talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            talk.say(b"x" * 65536)

    make_route(serve(long))
    for begun in (False, True):
        response = client.get(PATH)
        assert service("payments").breaker.slots.taken == 1
        if begun:
            next(iter(response.streaming_content))
        response.close()
        assert service("payments").breaker.slots.taken == 0


def test_an_answer_that_breaks_off_is_seen_by_the_client(serve, make_route, client, on):
    def short(talk: Talk) -> None:
        talk.read()
        talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)

    make_route(serve(short))
    response = client.get(PATH)

    with pytest.raises(Exception, match="broke"):
        list(response.streaming_content)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_has_none(serve, make_route, client, on, status):
    def bare(talk: Talk) -> None:
        while talk.read():
            talk.say(f'HTTP/1.1 {status}\r\nETag: "x"\r\n\r\n'.encode())

    make_route(serve(bare))

    response = client.get(PATH)

    assert response.status_code == int(status[:3])
    assert (response.content, response["ETag"]) == (b"", '"x"')
    assert "Content-Type" not in response
    assert response.get("Content-Length", "0") == "0"  # CommonMiddleware's.


def test_the_answer_to_head_keeps_its_length(serve, make_route, client, on):
    def head(talk: Talk) -> None:
        while talk.read():
            talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")

    make_route(serve(head))

    assert client.head(PATH)["Content-Length"] == "99"


def test_headers_of_one_hop_end_there(serve, make_route, client, on):
    def hop(talk: Talk) -> None:
        while talk.read():
            talk.answer(
                b"ok",
                "200 OK",
                "Connection: keep-alive, X-Hop",
                "X-Hop: 1",
                "Keep-Alive: timeout=5",
                "Proxy-Authenticate: Basic",
                "X-Accel-Redirect: /secret",
                "Strangler-Side: legacy",
                "Server: theirs",
                "X-Kept: 1",
            )

    server = serve(hop)
    make_route(server)

    response = client.get(
        PATH,
        headers={
            "Connection": "close, X-Mine",
            "X-Mine": "1",
            "TE": "trailers",
            "Upgrade": "h2c",
            "Proxy-Authorization": "Basic x",
            "X-Theirs": "1",
        },
    )

    (request,) = server.requests
    for name in ("Connection", "X-Mine", "TE", "Upgrade", "Proxy-Authorization"):
        assert request.get(name) is None, name
    assert request.get("X-Theirs") == "1"
    gone = {"X-Hop", "Keep-Alive", "Proxy-Authenticate", "X-Accel-Redirect", "Server"}
    assert not gone & {name for name, _ in response.items()}
    assert response["X-Kept"] == "1"
    assert response["Strangler-Side"] == "modern"


def test_several_headers_of_a_name_stay_several(serve, make_route, client, on):
    def several(talk: Talk) -> None:
        while talk.read():
            talk.answer(
                b"ok",
                "200 OK",
                "Set-Cookie: a=1; Path=/; Partitioned",
                "Set-Cookie: b=2, 3",
                "Set-Cookie: sessionid=stolen",
                "Link: </a>",
                "Link: </b>",
            )

    make_route(serve(several))

    found = [
        (name, value)
        for name, value in client.get(PATH).items()
        if name in ("Set-Cookie", "Link")
    ]

    assert sorted(found) == [
        ("Link", "</a>"),
        ("Link", "</b>"),
        ("Set-Cookie", "a=1; Path=/; Partitioned"),
        ("Set-Cookie", "b=2, 3"),
    ]


def test_who_the_user_is_is_said_by_us_alone(serve, make_route, settings, on):
    server = serve(fine)
    make_route(server)
    settings.STRANGLER = {
        **settings.STRANGLER,
        "IDENTITY": {"KEYS": [new_private_key()]},
    }
    user = get_user_model().objects.create_user(username="u", email="u@x.com")
    client = Client()
    client.force_login(user)

    for each in (client, Client()):
        each.get(
            PATH,
            headers={
                "Strangler-Identity": "forged",
                "Strangler_Identity": "forged",
                "Strangler-Deadline-Ms": "1",
                "Strangler-Fallback": "",
                "Authorization": "Bearer x",
                "X-Forwarded-Host": "evil.example",
                "Forwarded": "for=1.2.3.4",
                "traceparent": "forged",
            },
        )

    known, nobody = server.requests
    assert known.all("Strangler-Identity")[0].count(".") == 2
    assert len(known.all("Strangler-Identity")) == 1
    assert nobody.all("Strangler-Identity") == []
    for request in server.requests:
        assert b"forged" not in request.head
        assert b"evil" not in request.head
        assert int(request.get("Strangler-Deadline-Ms")) > 1
        assert request.get("Authorization") is None
        assert request.get("Cookie") is None
        assert request.get("X-Forwarded-Host") == "testserver"
        assert request.get("X-Forwarded-For") == "127.0.0.1"


def test_a_route_may_hand_private_headers_on(serve, make_route, client, on):
    server = serve(fine)
    make_route(server, forward=["Authorization"])

    client.get(PATH, headers={"Authorization": "Bearer x"})

    assert server.requests[0].get("Authorization") == "Bearer x"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("{base}/v2/8", "http://testserver/api/payments/8"),
        ("{base}/other", "http://testserver/other"),
        ("/v2/8", "/api/payments/8"),
        ("/elsewhere", "/elsewhere"),
        ("//evil.example/v2/", "//evil.example/v2/"),
        ("https://example.com/v2/", "https://example.com/v2/"),
        ("{base}.evil.example/", "{base}.evil.example/"),
    ],
)
def test_redirects_lead_to_our_own_address(
    serve, make_route, client, on, given, wanted
):
    def elsewhere(talk: Talk) -> None:
        while talk.read():
            location = given.format(base=talk.server.url)
            talk.answer(b"", "302 Found", f"Location: {location}")

    server = serve(elsewhere)
    make_route(server, rewrite="/v2/")

    assert client.get(PATH)["Location"] == wanted.format(base=server.url)
    assert len(server.requests) == 1


def test_websockets_are_refused_clearly(serve, make_route, client, on):
    server = serve(fine)
    make_route(server)

    response = client.get(
        PATH, headers={"Upgrade": "websocket", "Connection": "upgrade"}
    )

    assert response.status_code == 501
    assert "nginx" in response.json()["detail"]
    assert server.requests == []


def test_legacy_s_errors_are_evidence_too(make_route, client, notes):
    make_route("http://127.0.0.1:9")

    assert client.get("/api/payments/broken/").status_code == 500

    assert notes == [("route:payments-api", "legacy", False)]


class TestForgery:
    """A request that a foreign page made the browser send."""

    @pytest.fixture
    def checking(self) -> Client:
        return Client(enforce_csrf_checks=True)

    def test_it_is_refused_where_the_monolith_refuses_it(
        self, serve, make_route, checking, on
    ):
        server = serve(fine)
        make_route(server)

        for path in ("/api/payments/protected/", "/api/payments/protected/?a=b"):
            assert checking.post(path, {"amount": "1"}).status_code == 403
        assert server.requests == []

    def test_a_path_that_only_the_service_knows_is_protected(
        self, serve, make_route, checking, on, settings
    ):
        server = serve(fine)
        make_route(server, "/new/", name="new")

        assert checking.post("/new/", {"amount": "1"}).status_code == 403
        assert server.requests == []

    def test_a_view_that_is_exempt_is_exempt(self, serve, make_route, checking, on):
        make_route(serve(fine))

        assert checking.post(PATH, {"amount": "1"}).status_code == 200

    @pytest.mark.parametrize("by_header", [True, False])
    def test_a_token_lets_it_through_with_its_body(
        self, serve, make_route, checking, on, by_header
    ):
        server = serve(fine)
        make_route(server)
        token = "a" * 32
        checking.cookies["csrftoken"] = token
        data = {"amount": "1", **({} if by_header else {"csrfmiddlewaretoken": token})}
        headers = {"X-CSRFToken": token} if by_header else {}

        response = checking.post("/api/payments/protected/", data, headers=headers)

        assert response.status_code == 200
        assert b'name="amount"' in server.requests[0].body
