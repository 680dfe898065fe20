"""Calls over real sockets, and what is left of one for the next: nothing."""

from __future__ import annotations

import json
import threading
import time

import pytest
from django.contrib.auth import get_user_model

from django_strangler.services import (
    CircuitOpen,
    DeadlineExceeded,
    FailedAnswer,
    ServiceError,
    TooManyInFlight,
    UnknownService,
    retries,
    service,
    within,
)
from django_strangler.services.breakers import breaker
from django_strangler.services.circuit import State
from tests.waiting import wait_for

from .servers import Talk, fine


def test_an_answer_has_status_headers_and_body(serve, connect):
    def created(talk: Talk) -> None:
        talk.read()
        talk.answer(b'{"id": 7}', "201 Created", "X-Kind: new")

    payments = connect(serve(created))

    answer = payments.post("/charges", json={"amount": "9.90"})

    assert (answer.status, answer.headers["x-kind"]) == (201, "new")
    assert answer.json() == {"id": 7}


def test_a_request_goes_out_as_it_was_meant(serve, connect):
    server = serve(fine)
    payments = connect(f"{server.url}/base/")

    payments.post(
        "/a%2fb/ü?x=1",
        params={"q": "a b"},
        json={"n": 1},
        idempotency_key="k-1",
        headers={"X-Mine": "yes"},
    )

    (request,) = server.requests
    assert request.line == "POST /base/a%2fb/%C3%BC?x=1&q=a+b HTTP/1.1"
    assert json.loads(request.body) == {"n": 1}
    assert request.get("Content-Type") == "application/json"
    assert request.get("Idempotency-Key") == "k-1"
    assert request.get("X-Mine") == "yes"
    assert 0 < int(request.get("Strangler-Deadline-Ms")) <= 2000
    assert request.get("Strangler-Identity") is None  # No keys, no identity.


def test_4xx_and_5xx_are_answers_unless_an_error_is_asked_for(serve, connect):
    def missing(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"", "404 Not Found")

    payments = connect(serve(missing))

    assert payments.get("/").status == 404
    with pytest.raises(FailedAnswer, match="status 404"):
        payments.get("/", raise_for_status=True)


def test_no_redirect_is_followed_and_no_cookie_is_kept(serve, connect):
    def elsewhere(talk: Talk) -> None:
        while talk.read():
            talk.answer(
                b"", "302 Found", f"Location: {talk.server.url}/", "Set-Cookie: a=b"
            )

    server = serve(elsewhere)
    payments = connect(server)

    assert payments.get("/").status == 302
    payments.get("/again")

    assert len(server.requests) == 2
    assert server.connections == 1
    assert server.requests[1].get("Cookie") is None


def test_connections_are_kept_and_no_longer_than_their_age(serve, connect):
    server = serve(fine)
    for _ in range(5):
        connect(server).get("/")
    assert server.connections == 1

    old = connect(server, MAX_AGE=0)
    for _ in range(3):
        old.get("/")

    assert server.connections == 4


def test_an_idle_connection_is_not_risked(serve, connect):
    server = serve(fine)
    payments = connect(server, MAX_IDLE=0)

    payments.post("/")
    payments.post("/")

    assert server.connections == 2


def test_an_unknown_service_names_those_there_are(connect):
    connect("http://127.0.0.1:9")

    with pytest.raises(UnknownService, match="Known: payments"):
        service("paymnets")


def test_a_url_may_be_asked_for(serve, settings):
    servers = [serve(fine), serve(fine)]
    urls = iter([servers[0].url] * 2 + [servers[1].url] * 9)
    url = servers[0].url
    settings.STRANGLER = {"SERVICES": {"payments": {"URL": lambda: url}}}

    service("payments").get("/")
    url = servers[1].url
    service("payments").get("/")

    assert [len(each.requests) for each in servers] == [1, 1]
    del urls


def test_a_service_that_is_down_opens_the_breaker(connect):
    payments = connect("http://127.0.0.1:9")
    for _ in range(5):
        with pytest.raises(ServiceError) as caught:
            payments.get("/")
        assert not caught.value.reached

    with pytest.raises(CircuitOpen) as refused:
        payments.get("/")

    assert 0 < refused.value.retry_after <= 6
    assert "payments" in str(refused.value)


@pytest.mark.parametrize("status", ["500 Oops", "502 Bad Gateway", "504 Timeout"])
def test_errors_of_the_service_open_the_breaker_and_are_answers(serve, connect, status):
    def sick(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"", status)

    payments = connect(serve(sick))
    for _ in range(5):
        assert payments.get("/").status >= 500

    with pytest.raises(CircuitOpen):
        payments.get("/")


def test_requests_that_are_refused_for_what_they_are_say_nothing(serve, connect):
    def picky(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"", "422 No")

    payments = connect(serve(picky))

    for _ in range(20):
        payments.get("/")

    assert payments.breaker.circuit.state is State.CLOSED


def test_a_service_that_names_a_time_is_left_alone(serve, connect):
    def busy(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"", "503 Busy", "Retry-After: 30")

    payments = connect(serve(busy))

    assert payments.get("/").status == 503

    with pytest.raises(CircuitOpen) as refused:
        payments.get("/")
    assert refused.value.retry_after == pytest.approx(30, abs=1)


def test_a_service_that_hangs_holds_no_more_threads_than_it_may(serve, connect):
    server = serve(lambda talk: talk.hang())
    payments = connect(server, MAX_IN_FLIGHT=3, TIMEOUT=60)
    errors: list[Exception] = []

    def call() -> None:
        try:
            payments.get("/")
        except ServiceError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(errors) == 17 and payments.breaker.slots.taken == 3)

    assert all(isinstance(error, TooManyInFlight) for error in errors)
    assert payments.breaker.slots.taken == 3
    server.stop()
    for thread in threads:
        thread.join(60)
    assert payments.breaker.slots.taken == 0


def test_any_other_client_can_be_guarded():
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), breaker("bank"):
            1 / 0  # noqa: B018

    with pytest.raises(CircuitOpen), breaker("bank"):
        pytest.fail("it must not be called")


@pytest.mark.parametrize(
    ("mode", "passes"), [("observed", True), ("off", True), ("forced-open", False)]
)
def test_a_flag_changes_how_strict_a_breaker_is(override_flag, mode, passes):
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), breaker("bank"):
            1 / 0  # noqa: B018

    with override_flag(f"breaker-bank-{mode}"):
        if passes:
            with breaker("bank"):
                pass
        else:
            with pytest.raises(CircuitOpen, match="flag"), breaker("bank"):
                pass


def test_a_mode_is_switched_as_flags_are(settings):
    from django_strangler import feature_flags

    feature_flags.set_rollout(
        "breaker-bank-forced-open", 100, by="me", why="it is sick"
    )

    with pytest.raises(CircuitOpen), breaker("bank"):
        pass

    feature_flags.set_rollout("breaker-bank-forced-open", 0, by="me", why="well again")
    with breaker("bank"):
        pass


def test_nothing_is_called_when_no_time_is_left(serve, connect):
    server = serve(fine)
    payments = connect(server)

    with within(0.06), pytest.raises(DeadlineExceeded, match="not called"):
        payments.get("/")

    assert server.connections == 0


def test_what_is_left_is_passed_on(serve, connect):
    server = serve(fine)
    payments = connect(server, TIMEOUT=60)

    with within(20.0), within(30.0):
        payments.get("/")

    assert 0 < int(server.requests[0].get("Strangler-Deadline-Ms")) <= 19_950


def test_a_retry_is_made_only_where_it_is_harmless(serve, connect):
    def away(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"", "503 Away")

    server = serve(away)
    payments = connect(server, RETRIES=True, BREAKER="observed", TIMEOUT=20)

    payments.get("/")
    assert len(server.requests) == 2
    payments.post("/")
    assert len(server.requests) == 3
    payments.post("/", idempotency_key="k")
    assert len(server.requests) == 5
    assert server.requests[3].get("Idempotency-Key") == "k"


def test_a_retry_does_not_pass_the_deadline(serve, connect, monkeypatch):
    def away(talk: Talk) -> None:
        while talk.read():
            talk.answer(b"", "503 Away")

    server = serve(away)
    payments = connect(server, RETRIES=True, TIMEOUT=20)
    monkeypatch.setattr(retries, "pause", lambda: 20.0)

    begun = time.monotonic()
    assert payments.get("/").status == 503

    assert time.monotonic() - begun < 15
    assert len(server.requests) == 1


def test_a_caller_in_a_hurry_does_not_open_the_breaker(serve, connect):
    payments = connect(serve(lambda talk: talk.hang()), TIMEOUT=20)

    for _ in range(6):
        with within(0.15), pytest.raises(DeadlineExceeded):
            payments.get("/")

    assert payments.breaker.circuit.state is State.CLOSED


def test_the_identity_of_the_user_is_sent(serve, connect, settings, private_key):
    server = serve(fine)
    connect(server)
    settings.STRANGLER = {**settings.STRANGLER, "IDENTITY": {"KEYS": [private_key]}}
    user = get_user_model()(pk=7)

    service("payments").get("/", user=user)

    assert server.requests[0].get("Strangler-Identity").count(".") == 2


def test_a_fork_does_not_share_connections(serve, connect):
    import os

    server = serve(fine)
    connect(server).get("/")
    child = os.fork()
    if not child:
        try:
            service("payments").get("/child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    service("payments").get("/parent")

    assert [each.line.split()[1] for each in server.requests] == [
        "/",
        "/child",
        "/parent",
    ]
    assert server.connections == 2


def test_the_trace_is_passed_on(serve, connect, spans):
    server = serve(fine)

    connect(server).get("/")

    (span,) = [each for each in spans() if each.name == "GET"]
    sent = server.requests[0].get("traceparent")
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" in sent
    assert span.attributes["http.response.status_code"] == 200
