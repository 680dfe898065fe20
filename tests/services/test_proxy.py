"""The proxy breaks a network as networks break."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.waiting import TimedOut, wait_for

from .fixtures import MakeProxy
from .ports import free_port
from .proxy import Proxy


class Echo:
    """A server that sends back what it gets, and counts its clients."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.clients = 0
        self.received = 0
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.threads.append(threading.Thread(target=self._serve, args=[client]))
                self.threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        self.clients += 1
        with client, contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.received += len(data)
                client.sendall(data)
        self.clients -= 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo, make_proxy: MakeProxy) -> Proxy:
    return make_proxy(echo.port)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        client.sendall(b"hello")
        assert read(client, 5) == b"hello"
        yield client


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def is_silent(client: socket.socket, seconds: float = 0.2) -> bool:
    client.settimeout(seconds)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(60)


def test_both_ends_of_a_connection_end_each_for_itself(client, echo, proxy) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)

    assert read(client, 100) == b"last words"
    wait_for(lambda: echo.clients == 0)
    wait_for(lambda: proxy.connections == 0)


def test_a_cut_resets_connections_and_lets_new_ones_in(client, echo, proxy) -> None:
    proxy.cut()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_for(lambda: echo.clients == 0)
    with connect(proxy) as another:
        another.sendall(b"again")
        assert read(another, 5) == b"again"


def test_a_refusing_proxy_lets_nobody_in_until_it_is_healed(client, proxy) -> None:
    proxy.refuse()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    connect(proxy).close()


def test_a_reset_by_the_server_reaches_the_client(make_proxy) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect(make_proxy(listener.getsockname()[1])) as client,
    ):
        server, _ = listener.accept()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()

        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_client_is_reset_when_nobody_is_behind_the_proxy(make_proxy, echo) -> None:
    with (
        pytest.raises(ConnectionResetError),
        connect(make_proxy(free_port())) as client,
    ):
        client.recv(1)


def test_a_black_hole_up_keeps_requests_back_and_loses_nothing(
    client, echo, proxy
) -> None:
    proxy.black_hole("up")
    client.sendall(b"first")
    client.sendall(b"second")

    assert is_silent(client)
    assert echo.received == len(b"hello")

    proxy.heal()
    assert read(client, 11) == b"firstsecond"


def test_a_black_hole_down_lets_requests_through_but_no_answers(
    client, echo, proxy
) -> None:
    proxy.black_hole("down")
    client.sendall(b"heard")

    wait_for(lambda: echo.received == len(b"helloheard"))
    assert is_silent(client)

    proxy.heal()
    assert read(client, 5) == b"heard"


def test_in_a_black_hole_nobody_learns_that_the_other_side_is_gone(
    client, echo, proxy
) -> None:
    proxy.black_hole()
    client.close()
    with pytest.raises(TimedOut):
        wait_for(lambda: echo.clients == 0, 0.2)

    proxy.heal()

    wait_for(lambda: echo.clients == 0)


def test_a_black_hole_ends_with_a_cut(client, echo, proxy) -> None:
    proxy.black_hole()

    proxy.cut()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_for(lambda: echo.clients == 0)


def test_a_delay_counts_in_each_direction(client, proxy) -> None:
    def round_trip() -> float:
        begin = time.monotonic()
        client.sendall(b"x")
        read(client, 1)
        return time.monotonic() - begin

    proxy.delay(0.3)
    assert round_trip() >= 0.6
    # A machine with other work may now and then take longer.
    proxy.heal()
    proxy.delay(0.3, "up")
    assert any(0.3 <= round_trip() < 0.6 for _ in range(10))
    proxy.heal()
    assert any(round_trip() < 0.3 for _ in range(10))


def test_order_stays_when_the_delay_changes(client, proxy) -> None:
    sent = b"".join(b"%06d" % number for number in range(500))
    for number in range(500):
        proxy.delay(0.01 * (number % 7)) if number % 50 == 0 else None
        client.sendall(b"%06d" % number)

    assert read(client, len(sent)) == sent


def test_it_forwards_tens_of_megabytes_per_second(client, proxy) -> None:
    size = 64 * 2**20
    block = bytes(2**20)

    def round_trip() -> float:
        sender = threading.Thread(
            target=lambda: [client.sendall(block) for _ in range(64)]
        )
        begin = time.monotonic()
        sender.start()
        received = 0
        while received < size:
            received += len(client.recv(2**20))
        sender.join()
        return time.monotonic() - begin

    # A machine with other work may now and then take longer.
    assert any(size / round_trip() > 20 * 2**20 for _ in range(10))
