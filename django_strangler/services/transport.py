"""
Connections: the only module that imports urllib3.

What urllib3 does not promise is added at the socket: every wait, also for a byte of a
header that drips, ends at the call's deadline; a connection is not kept longer than its
age allows, nor after an answer longer than it said; nothing is decoded or rewritten.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django_strangler.extras import extra

from .errors import BadAnswer, DeadlineExceeded, ServiceError, Unreachable

with extra("services"):
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.util.wait import wait_for_read, wait_for_write

CHUNK = 64 * 1024
# What urllib3 would add or do by itself.
_NO_ADDITIONS = dict.fromkeys(
    ("user-agent", "accept-encoding"), urllib3.util.SKIP_HEADER
)
_NO_RETRIES = urllib3.Retry(False, redirect=False)
_NO_TIMEOUT = urllib3.Timeout(connect=None, read=None)  # The watch has them.


class Watch:
    """What a connection knows of the call that it serves."""

    def __init__(self, target: str, until: float, connect_until: float) -> None:
        self.target = target  # The path as it goes on the wire.
        self.until = until
        self.connect_until = connect_until
        self.reached = False  # Whether a byte of the request has left.

    def begin_answer(self, seconds: float) -> None:
        """The request is complete; from now on it is the service that is waited for."""
        self.until = min(self.until, monotonic() + seconds)

    def left(self) -> float:
        seconds = self.until - monotonic()
        if seconds <= 0:
            raise TimeoutError("the deadline is over")
        return seconds


_watch: ContextVar[Watch] = ContextVar("strangler_watch")


class Upload:
    """A body that is handed on while it comes: it cannot be sent a second time."""

    def __init__(self, read: Callable[[int], bytes], length: int | None) -> None:
        self._read, self.length = read, length
        self.is_broken = False  # The client left before all of it had come.
        self._came = 0
        self.at_end: Callable[[], None] = lambda: None

    def read(self, size: int = CHUNK) -> bytes:
        try:
            data = self._read(size)
        except Exception:
            self.is_broken = True
            raise
        self._came += len(data)
        if not data:
            if self.length is not None and self._came < self.length:
                self.is_broken = True
                raise OSError("the client left before its body was complete")
            self.at_end()
        return data


class _Socket(socket.socket):
    """It never waits by itself, so most of what is asked of it costs nothing."""

    def settimeout(self, value: float | None) -> None:
        # urllib3 asks twice a call. Each system call lets another thread have its turn.
        if value != self.gettimeout():
            super().settimeout(value)


def _patiently(
    act: Callable[[Any], int],
    data: Any,
    sock: socket.socket,
    watch: Watch,
    ready: Callable[..., bool] | None,
) -> int:
    """Read or write when it is possible; waiting ends at the call's deadline."""
    while True:
        left = watch.left()
        if ready is not None:
            ready(sock, left)
        try:
            return act(data)
        except ssl.SSLWantWriteError:
            ready = wait_for_write
        except ssl.SSLWantReadError:
            ready = wait_for_read
        except BlockingIOError:
            ready = ready or wait_for_write


class _Raw(io.RawIOBase):
    """A socket's bytes, each wait no longer than what is left."""

    def __init__(self, connection: _Watched, sock: socket.socket) -> None:
        self._inner = sock.makefile("rb", buffering=0)
        self.connection, self._sock, self.is_over = connection, sock, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_over:
            return 0
        sock = self._sock
        # What was decrypted already, nobody sees at the socket.
        ready = None if isinstance(sock, ssl.SSLSocket) else wait_for_read
        return _patiently(sock.recv_into, buffer, sock, self.connection.watch, ready)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Buffered(io.BufferedReader):
    """Its end tells whether the service sent more than it had announced."""

    def close(self) -> None:
        if not self.closed:
            raw: Any = self.raw
            raw.is_over = True
            if self.peek(1):
                raw.connection.is_spoiled = True
        super().close()


class _Sock:
    """What http.client's response wants of a socket."""

    def __init__(self, connection: _Watched, sock: socket.socket) -> None:
        self._connection, self._sock = connection, sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return _Buffered(_Raw(self._connection, self._sock), CHUNK)


class _Response(http.client.HTTPResponse):
    def _read_status(self) -> Any:
        # http.client knows 100 only, and would take "103 Early Hints" for the answer.
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == 101:
                raise http.client.BadStatusLine("101, and no upgrade was asked for")
            if status >= 200 or status == 100:
                return version, status, reason
            http.client.parse_headers(self.fp)


if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object


class _Watched(_Base):
    watch: Watch
    born: float
    idle_since = 0.0
    is_spoiled = False

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        return _Response(_Sock(self, sock), *args, **options)  # type: ignore[arg-type]

    def _new_conn(self) -> socket.socket:
        # All addresses of a name together get the time that one would get by itself.
        self.born, self.is_spoiled = monotonic(), False
        problem: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            self._dns_host, self.port, 0, socket.SOCK_STREAM
        ):
            left = min(self.watch.connect_until, self.watch.until) - monotonic()
            if left <= 0:
                raise TimeoutError("no time is left to connect")
            sock = _Socket(family, kind, protocol)
            try:
                sock.settimeout(left)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                problem = error
            else:
                return sock
        raise problem

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
        super().putrequest(method, self.watch.target, *args, **options)

    @property
    def timeout(self) -> float:
        """The socket never waits: ``_patiently`` does."""
        return 0.0

    @timeout.setter
    def timeout(self, value: object) -> None:
        pass

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.timeout)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        sock, view = self.sock, memoryview(data)
        # Of a record of TLS a part may have left; else a byte that is taken is known.
        self.watch.reached |= isinstance(sock, ssl.SSLSocket)
        while view:
            sent = _patiently(sock.send, view, sock, self.watch, None)
            self.watch.reached = True
            view = view[sent:]

    def getresponse(self) -> Any:
        # Broken while it was sent: urllib3 wants to read an early answer all the same.
        if self.sock is None:
            raise ConnectionResetError("the connection was closed before the answer")
        return super().getresponse()


class _Plain(_Watched, HTTPConnection):
    pass


class _Secure(_Watched, HTTPSConnection):
    pass


if TYPE_CHECKING:
    _PoolBase = HTTPConnectionPool
else:
    _PoolBase = object


class _Bounded(_PoolBase):
    max_age: float
    max_idle: float

    def _get_conn(self, timeout: float | None = None) -> Any:
        found: Any = super()._get_conn(timeout)
        if found.sock is not None:
            now = monotonic()
            if (
                now - found.born > self.max_age
                or now - found.idle_since > self.max_idle
            ):
                found.close()
        found.watch = _watch.get()
        return found

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = monotonic()
            if conn.is_spoiled:
                conn.close()
        super()._put_conn(conn)


class _PlainPool(_Bounded, HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(_Bounded, HTTPSConnectionPool):
    ConnectionCls = _Secure


class Reply:
    """An answer whose body is still to be read; close it, whatever happens."""

    def __init__(self, response: urllib3.BaseHTTPResponse, watch: Watch) -> None:
        self._response, self.watch = response, watch
        self.status: int = response.status
        self.reason: str = response.reason or ""
        self.headers: urllib3.HTTPHeaderDict = response.headers

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, not decoded."""
        with _translated(self.watch):
            while chunk := self._response.read1(CHUNK, decode_content=False):
                yield chunk

    def close(self) -> None:
        """Give the connection back if all was read, and close it otherwise."""
        response: Any = self._response
        original = response._original_response
        if original is not None and not original.isclosed():
            response.close()
        response.release_conn()


class Transport:
    """The pooled connections to one service."""

    def __init__(self, url: str, *, most: int, max_age: float, max_idle: float) -> None:
        parts = urlsplit(url)
        self.prefix = parts.path.rstrip("/")
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        pool_class = _SecurePool if parts.scheme == "https" else _PlainPool
        self._pool = pool_class(
            self.host, self.port, maxsize=most, block=False, blocksize=CHUNK
        )
        self._pool.max_age, self._pool.max_idle = max_age, max_idle

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Any,
        *,
        seconds: float,
        connect: float,
        upload_seconds: float = 60.0,
    ) -> Reply:
        """
        Send a request and wait for the head of the answer.

        The headers' names are in lower case.
        """
        now = monotonic()
        watch = Watch(self.prefix + target, now + seconds, now + connect)
        if isinstance(body, Upload):
            # As long as it comes, it is the client that is waited for.
            watch.until = now + upload_seconds
            body.at_end = lambda: watch.begin_answer(seconds)
        token = _watch.set(watch)
        try:
            with _translated(watch):
                response = self._pool.urlopen(
                    method,
                    "/",
                    body,
                    {**_NO_ADDITIONS, **headers},
                    retries=_NO_RETRIES,
                    redirect=False,
                    assert_same_host=False,
                    timeout=_NO_TIMEOUT,
                    preload_content=False,
                    decode_content=False,
                )
        finally:
            _watch.reset(token)
        return Reply(response, watch)

    def close(self) -> None:
        self._pool.close()


@contextmanager
def _translated(watch: Watch) -> Iterator[None]:
    """urllib3's errors as ours; they tell whether the service was reached."""
    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        raise _ours(error, watch) from error
    except (http.client.HTTPException, ValueError) as error:
        raise BadAnswer(_text(error), reached=watch.reached) from error
    except OSError as error:
        raise _ours(error, watch) from error


def _ours(error: Exception, watch: Watch) -> ServiceError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if watch.until <= monotonic() or any(isinstance(e, TimeoutError) for e in causes):
        what = "did not answer in time" if watch.reached else "cannot be connected to"
        return DeadlineExceeded(f"The service {what}.", reached=watch.reached)
    if not watch.reached:
        return Unreachable(f"The service cannot be reached: {_text(error)}")
    if any(isinstance(e, (http.client.BadStatusLine, ValueError)) for e in causes) or (
        isinstance(
            error, (urllib3.exceptions.IncompleteRead, urllib3.exceptions.InvalidHeader)
        )
    ):
        is_gone = any(isinstance(e, http.client.RemoteDisconnected) for e in causes)
        if not is_gone:
            return BadAnswer(f"The answer is broken: {_text(error)}", reached=True)
    return Unreachable(f"The connection broke: {_text(error)}", reached=True)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
