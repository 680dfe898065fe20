"""The monolith over HTTP, in this process, for this machine."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

HOST, PORT = "127.0.0.1", 8000


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The page asks twice a second; nobody wants to read that."""


@contextmanager
def serving(port: int) -> Iterator[ThreadedWSGIServer]:
    """Serve at this port, or at another one if it is taken, until the block ends."""
    try:
        server = ThreadedWSGIServer((HOST, port), Quiet)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        server = ThreadedWSGIServer((HOST, 0), Quiet)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
