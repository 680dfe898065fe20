"""Services that misbehave, at the level of bytes."""

from __future__ import annotations

import threading
import time
import tracemalloc

import pytest
from urllib3.util.wait import wait_for_read

from django_strangler.services import (
    BadAnswer,
    DeadlineExceeded,
    ServiceError,
    Unreachable,
    transport,
)

from .servers import Talk, answer, fine

LIMIT = 0.5
PATIENCE = 15  # Seconds. A server that hangs does so for twice as long.


def drip(data: bytes, talk: Talk) -> None:
    for byte in data:
        talk.say(bytes([byte]))
        if talk.server.stopping.wait(0.05):
            return


def hangs_before_headers(talk: Talk) -> None:
    talk.read()
    talk.hang()


def drips_its_headers(talk: Talk) -> None:
    talk.read()
    drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000, talk)


def drips_its_body(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    drip(b"x" * 1000, talk)


def drips_chunks(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    drip(b"1\r\nx\r\n" * 300, talk)


def hints_for_ever(talk: Talk) -> None:
    talk.read()
    while not talk.server.stopping.wait(0.02):
        talk.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")


def hangs_in_its_body(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    talk.hang()


@pytest.mark.parametrize(
    "handler",
    [
        hangs_before_headers,
        drips_its_headers,
        drips_its_body,
        drips_chunks,
        hints_for_ever,
        hangs_in_its_body,
    ],
)
def test_no_call_takes_longer_than_its_time(serve, connect, handler):
    payments = connect(serve(handler), TIMEOUT=LIMIT)
    begun = time.monotonic()

    with pytest.raises(DeadlineExceeded) as caught:
        payments.get("/")

    assert time.monotonic() - begun < LIMIT + PATIENCE  # Nobody else ends it.
    assert caught.value.reached
    assert payments.breaker.slots.taken == 0


def test_a_host_that_never_answers_is_not_waited_for_longer_than_to_connect(connect):
    # 192.0.2.0/24 is for documentation: it leads nowhere, or is refused at once.
    payments = connect("http://192.0.2.1", CONNECT_TIMEOUT=0.2)
    begun = time.monotonic()

    with pytest.raises(ServiceError) as caught:
        payments.post("/")

    assert time.monotonic() - begun < 30  # The system would try for minutes.
    assert not caught.value.reached


def test_a_body_that_is_not_taken_ends_in_time(serve, connect):
    payments = connect(serve(lambda talk: talk.hang()), TIMEOUT=LIMIT)
    begun = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        payments.post("/", body=b"x" * 50_000_000)

    assert time.monotonic() - begun < LIMIT + PATIENCE


def resets(talk: Talk) -> None:
    talk.read()
    talk.reset()


def resets_in_its_body(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    talk.reset()


def says_less_than_it_promised(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")


def ends_within_a_chunk(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc")


def says_no_http(talk: Talk) -> None:
    talk.read()
    talk.say(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def says_two_lengths(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde")


def switches_protocols(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    talk.hang()


def sends_endless_headers(talk: Talk) -> None:
    talk.read()
    talk.say(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000)


@pytest.mark.parametrize(
    "handler",
    [
        resets,
        resets_in_its_body,
        says_less_than_it_promised,
        ends_within_a_chunk,
        says_no_http,
        says_two_lengths,
        switches_protocols,
        sends_endless_headers,
    ],
)
def test_half_an_answer_is_no_answer(serve, connect, handler):
    payments = connect(serve(handler))

    with pytest.raises((BadAnswer, Unreachable)) as caught:
        payments.get("/")

    assert caught.value.reached
    assert payments.breaker.slots.taken == 0


def test_early_hints_are_not_the_answer(serve, connect):
    def hints(talk: Talk) -> None:
        while talk.read():
            talk.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            talk.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
            talk.answer(b"real")

    server = serve(hints)
    payments = connect(server)

    assert [payments.get("/").body for _ in range(3)] == [b"real"] * 3
    assert server.connections == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_leaves_the_connection_usable(serve, connect, status):
    def bare(talk: Talk) -> None:
        while talk.read():
            talk.say(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())

    server = serve(bare)
    payments = connect(server)

    assert [payments.get("/").body for _ in range(3)] == [b""] * 3
    assert server.connections == 1


def test_the_answer_to_head_has_no_body(serve, connect):
    def head(talk: Talk) -> None:
        while talk.read():
            talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    server = serve(head)
    payments = connect(server)

    assert [payments.head("/").body for _ in range(2)] == [b""] * 2
    assert server.connections == 1


def test_more_than_it_promised_reaches_nobody_else(serve, connect):
    def too_much(talk: Talk) -> None:
        talk.read()
        # Two answers in one piece: the second is there before the next user asks.
        talk.say(answer(b"ok") + answer(b"somebody else's"))
        while talk.read():
            talk.answer(b"ok")

    server = serve(too_much)
    payments = connect(server)

    assert [payments.get("/").body for _ in range(3)] == [b"ok"] * 3


def test_an_endless_answer_is_cut_off_in_bounded_memory(serve, connect):
    def endless(talk: Talk) -> None:
        talk.read()
        talk.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while not talk.server.stopping.is_set():
            talk.say(b"x" * 65536)

    payments = connect(serve(endless), MAX_BODY=1_000_000, TIMEOUT=20)
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswer, match="larger than MAX_BODY, 1,000,000"):
            payments.get("/")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 4_000_000
    assert payments.breaker.slots.taken == 0


def test_what_is_not_json_is_said_to_be_none(serve, connect):
    def html(talk: Talk) -> None:
        talk.read()
        talk.answer(b"<html>")

    with pytest.raises(BadAnswer, match="not JSON"):
        connect(serve(html)).get("/").json()


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Bad": "a\r\nX-Injected: b"}},
        {"headers": {"X-Bad:": "a"}},
        {"idempotency_key": "k\r\n\r\nGET / HTTP/1.1"},
    ],
)
def test_nothing_is_smuggled_into_a_request(serve, connect, options):
    server = serve(fine)
    payments = connect(server)

    with pytest.raises(ServiceError) as caught:
        payments.get("/", **options)

    assert not caught.value.reached
    assert server.requests == []


def test_a_path_cannot_end_the_line(serve, connect):
    server = serve(fine)

    connect(server).get("/a\r\nX-Injected: b\r\n")

    assert server.requests[0].get("X-Injected") is None


def test_of_a_connection_that_was_dead_it_is_known_that_nothing_left(
    serve, connect, monkeypatch
):
    gone = threading.Event()

    def goes(talk: Talk) -> None:
        talk.read()
        talk.answer()
        gone.wait(60)
        talk.reset()

    server = serve(goes)
    payments = connect(server)
    payments.post("/")
    putrequest = transport._Watched.putrequest

    def late(connection, *args, **options):
        # The pool has found the connection alive; now the other end is gone.
        gone.set()
        wait_for_read(connection.sock, 60)
        putrequest(connection, *args, **options)

    monkeypatch.setattr(transport._Watched, "putrequest", late)

    with pytest.raises(Unreachable) as caught:
        payments.post("/")

    assert not caught.value.reached
    assert len(server.requests) == 1


def test_a_connection_that_breaks_while_it_is_sent_is_an_error_of_ours(monkeypatch):
    def send(connection, data):
        connection.close()
        raise BrokenPipeError

    monkeypatch.setattr(transport._Watched, "send", send)
    line = transport.Transport("http://127.0.0.1:9", most=1, max_age=9, max_idle=9)

    with pytest.raises(ServiceError, match="closed before the answer"):
        line.send("GET", "/", {}, None, seconds=1, connect=1)
