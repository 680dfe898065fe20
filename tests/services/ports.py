"""Free ports on the loopback interface."""

from __future__ import annotations

import errno
import os
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
LOWEST = 15_000

_given: set[int] = set()


def free_port() -> int:
    """
    A port nobody listens on and that no outgoing connection gets by chance.

    So it stays free while a test has the server stopped. In the range of outgoing
    connections, a client that keeps trying may even connect to itself.
    """
    choice = random.SystemRandom()
    number, count = _process()
    for _ in range(200):
        port = choice.randrange(LOWEST + number, _first_outgoing(), count)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {LOWEST} and 32767")


def _process() -> tuple[int, int]:
    """Which one of how many it is that run tests (pytest-xdist): each has its ports."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return int(name.removeprefix("gw")) % count, count


def _first_outgoing() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except FileNotFoundError:
        return 32_768
    # A machine that gives out nearly all ports leaves nothing below.
    return max(int(text.split()[0]), LOWEST + 5_000)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
