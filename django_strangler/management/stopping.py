"""Stopping a process on a signal, and in time, even when something hangs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

logger = logging.getLogger("django_strangler.management")

LAST_WORDS = 0.1  # Seconds for the log, which may be what hangs.
AT_EXIT = 5.0  # For what others do while the interpreter ends: sending spans, say.
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: threading.Event, *, within: float = 1.9) -> Iterator[None]:
    """
    SIGTERM and SIGINT ask to stop; a second one is handled as usual.

    A process that has not stopped after ``within`` seconds, because a database or a
    network hangs, ends there and then. That is as safe as any other end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
    told, tells = socket.socketpair()
    tells.setblocking(False)
    over = threading.Event()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # It must not set the event itself: it runs in the middle of anything, also of the
    # wait for that very event, whose lock it would then wait for, for ever. And it is
    # late while the main thread looks up a host's name, say: what the interpreter
    # itself writes to the socket has been read by then.
    def ask(number: int, frame: object) -> None:
        with suppress(OSError):
            tells.send(bytes([number]))
        restore()

    threading.Thread(
        target=_watch,
        args=(told, stop, over, within),
        name="strangler-signals",
        daemon=True,
    ).start()
    wakeup = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield
    finally:
        over.set()
        restore()
        signal.set_wakeup_fd(wakeup)
        tells.close()


def _watch(
    told: socket.socket, stop: threading.Event, over: threading.Event, within: float
) -> None:
    """Wait for a signal, then for the end."""
    with told:
        numbers = b""
        while not set(numbers).intersection(_SIGNALS):  # Others are told as well.
            numbers = told.recv(64)
            if not numbers:
                return  # It is over, and no signal came.
        stop.set()
        is_over = over.wait(within)
    if is_over:
        main = threading.main_thread()
        main.join(AT_EXIT)  # From then on the interpreter ends.
        if main.is_alive():
            return  # It goes on with something else.
        time.sleep(AT_EXIT)
    _leave()


def _leave() -> None:
    words = threading.Thread(target=_say, name="strangler-last-words", daemon=True)
    with suppress(RuntimeError):  # The interpreter ends, and starts no more threads.
        words.start()
        words.join(LAST_WORDS)
    os._exit(0)


def _say() -> None:
    logger.warning("Something hangs; ended without waiting for it any longer")
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
