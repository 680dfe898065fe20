"""
The bank and the post office: what the company cannot take back.

    python -m tests.extraction.outside PORT LEDGER

Each takes an order once per key, writes it down before it answers, and knows it again
after a crash. Whatever else is sent under a key that was used is written down as well.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .history import lines


class Ledger:
    """One line for each order, by whom it was given first."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._known = {each["key"]: each["order"] for each in lines(path)}
        self._file = path.open("a")

    def take(self, kind: str, key: str, order: Any) -> int:
        """The status: 201 new, 200 known, 422 another one under the same key."""
        with self._lock:
            known = self._known.get(key)
            if known is not None and known == order:
                return 200
            status = 201 if known is None else 422
            if known is None:
                self._known[key] = order
            line = {"kind": kind, "key": key, "order": order, "status": status}
            self._file.write(json.dumps({**line, "at": time.time()}) + "\n")
            self._file.flush()
            return status

    def close(self) -> None:
        self._file.close()


class Counter(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ledger: Ledger

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Idempotency-Key"]
        status = self.ledger.take(self.path.strip("/"), key, json.loads(body))
        answer = json.dumps({"key": key}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """What counts is in the ledger."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(port: str, ledger: str) -> None:
    Counter.ledger = Ledger(Path(ledger))
    Server(("127.0.0.1", int(port)), Counter).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
