"""
What processes tell one another about a service: a hint in Django's cache.

It is a hint and no order: who reads it opens at the first failure of its own. Only
``add`` is used as a lock, which is what Redis and Memcached do atomically; with a cache
per process nothing is shared, and each process learns for itself.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from django.core.cache import caches

from django_strangler.announcing import Announcer

logger = logging.getLogger("django_strangler.services")
trouble = Announcer(logger)

EVERY = 1.0  # Seconds between two looks, per process and service.


class Hints:
    """The hint and the probe's lease of one service."""

    def __init__(
        self, name: str, clock: Callable[[], float] = time.monotonic, cache: Any = None
    ) -> None:
        self._name, self._clock, self._given = name, clock, cache
        self._looked, self._warned = float("-inf"), False
        self._key = f"strangler:breaker:{name}"

    def is_warned(self) -> bool:
        """Whether another process has lately found the service sick."""
        now = self._clock()
        if now - self._looked >= EVERY:
            self._looked = now
            self._warned = bool(self._try(lambda cache: cache.get(self._key)))
        return self._warned

    def warn(self, seconds: float) -> None:
        """This process has opened its circuit, for so many seconds."""
        who = f"{socket.gethostname()}:{os.getpid()}"
        self._try(lambda cache: cache.set(self._key, who, max(1, seconds)))

    def all_clear(self) -> None:
        """This process has closed its circuit."""
        self._warned = False
        self._try(lambda cache: cache.delete(self._key))

    def claim_probe(self, lease: float) -> bool:
        """Whether this process is the one that probes; without a cache, each is."""
        key = f"{self._key}:probe"
        return self._try(lambda cache: cache.add(key, 1, lease)) is not False

    def leave_probe(self) -> None:
        """The probe is back: the next need not wait for the end of its lease."""
        self._try(lambda cache: cache.delete(f"{self._key}:probe"))

    def _try(self, act: Callable[[Any], Any]) -> Any:
        """What the cache says; None if it cannot be asked."""
        from .conf import everywhere

        try:
            cache = self._given or caches[everywhere().cache]
            found = act(cache)
        except Exception as error:  # noqa: BLE001  Each backend has errors of its own.
            trouble.once(
                "cache",
                "The cache cannot be used (%s: %s). Breakers go by what their own "
                "process sees.",
                type(error).__name__,
                error,
            )
            return None
        trouble.over("cache", "Breakers can use the cache again.")
        return found
