"""What the parts of a relay have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from django_strangler import conf
from django_strangler.brokers import Broker

from .backlog import Backlog
from .held import Held
from .leases import Leases
from .store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A relay's memory, its two ends, and what it goes by."""

    backlog: Backlog
    held: Held
    store: Store
    leases: Leases
    broker: Broker
    settings: conf.Settings
    stop: threading.Event
    clock: Callable[[], float]
