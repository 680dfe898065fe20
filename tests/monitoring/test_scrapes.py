"""Whoever connects to the metrics' port keeps nobody else from reading them."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from django_strangler.monitoring.scrapes import ScrapeServer
from tests.services.ports import free_port
from tests.waiting import wait_for


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"strangler_up 1\n"]


@pytest.fixture
def server() -> Iterator[ScrapeServer]:
    server = ScrapeServer("127.0.0.1", free_port(), app, deadline=3.0, most=4)
    server.start()
    yield server
    server.stop()


def scrape(server: ScrapeServer) -> bytes:
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def begin(server: ScrapeServer) -> socket.socket:
    """A request whose end does not come."""
    client = socket.create_connection(("127.0.0.1", server.server_port))
    client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    return client


def is_ended(client: socket.socket) -> bool:
    """Drip another byte, and look whether anybody still listens."""
    try:
        client.sendall(b"x")
        return client.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_a_client_that_drips_its_request_is_ended_and_delays_no_scrape(server):
    with begin(server) as client:
        assert scrape(server) == b"strangler_up 1\n"
        wait_for(partial(is_ended, client))


def test_of_too_many_clients_the_oldest_go(server):
    server._deadline = 600.0
    with ExitStack() as stack:
        clients = [stack.enter_context(begin(server)) for _ in range(10)]
        assert scrape(server) == b"strangler_up 1\n"
        for client in clients[:6]:
            wait_for(partial(is_ended, client))
        assert not is_ended(clients[-1])


def test_a_client_that_goes_away_is_not_written_about(server, capfd):
    with begin(server) as client:
        # It goes with a reset instead of a goodbye.
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_for(lambda: not server._ends)

    assert scrape(server) == b"strangler_up 1\n"
    assert capfd.readouterr().err == ""
