"""The small HTTP server that metrics are read from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

DEADLINE = 10.0  # Seconds, as long as Prometheus waits for an answer.
MOST = 16  # Requests at once.


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """
    A thread for each request, so many at most, and each for so long.

    A client that sends a byte now and then keeps no other out, and no thread busy for
    ever.
    """

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        app: Callable[..., Any],
        *,
        deadline: float = DEADLINE,
        most: int = MOST,
    ) -> None:
        self._deadline, self._most = deadline, most
        self._lock = threading.Lock()
        self._ends: dict[Any, float] = {}  # By request, the oldest first.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family = found[0][0]
        super().__init__((host, port), _Silent)
        self.set_app(app)

    def start(self) -> None:
        """Serve, on a thread of its own."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give it a thread; of too many, the oldest has had its chance."""
        with self._lock:
            self._ends[request] = time.monotonic() + self._deadline
            if len(self._ends) > self._most:
                self._end(next(iter(self._ends)))
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End what takes too long: called twice a second, and after each request."""
        now = time.monotonic()
        with self._lock:
            for request, end in list(self._ends.items()):
                if end > now:
                    break
                self._end(request)

    def shutdown_request(self, request: Any) -> None:
        """It is over."""
        with self._lock:
            self._ends.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: any client could fill the log."""

    def _end(self, request: Any) -> None:
        del self._ends[request]
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)  # Its thread finds that, and ends.


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
