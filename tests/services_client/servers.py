"""Servers that say exactly the bytes a test wants, as slowly as it wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Handler = Callable[["Talk"], None]


@dataclass
class Request:
    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode("latin-1")

    def all(self, name: str) -> list[str]:
        found = []
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").lower() == name.lower():
                found.append(value.strip().decode("latin-1"))
        return found

    def get(self, name: str) -> str | None:
        return (self.all(name) or [None])[0]


@dataclass
class Talk:
    """One connection, as its server sees it."""

    sock: socket.socket
    server: Server
    number: int

    def read(self) -> Request | None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        request = Request(head, body)
        length = int(request.get("Content-Length") or 0)
        if (request.get("Transfer-Encoding") or "") == "chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body += self.sock.recv(65536)
        while len(body) < length:
            more = self.sock.recv(65536)
            if not more:
                break
            body += more
        request.body = body
        self.server.requests.append(request)
        return request

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"{}", status: str = "200 OK", *more: str) -> None:
        self.say(answer(body, status, *more))

    def hang(self) -> None:
        self.server.stopping.wait(30)

    def reset(self) -> None:
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()


def answer(body: bytes = b"{}", status: str = "200 OK", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Server:
    handler: Handler
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.stopping.is_set():
                sock.close()
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock, contextlib.suppress(OSError):
            self.handler(Talk(sock, self, number))

    def stop(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._accepting.join(10)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@contextlib.contextmanager
def serving(handler: Handler) -> Iterator[Server]:
    server = Server(handler)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def fine(talk: Talk) -> None:
    """A server that answers each request, and keeps the connection."""
    while talk.read() is not None:
        talk.answer()
