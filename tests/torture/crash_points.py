"""
Where a relay or a consumer is made to die: at each step of its loop in turn.

    TORTURE_CRASH=relay-before-marking python -m django drain_outbox --once

Armed while the process starts, by the torture app. The process is gone at once, as by
kill -9: nothing is flushed, closed or given back.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

CRASHED = 86  # The exit status that says: it got there.

# Where: the module, the function in it, before or after it, and the how manieth call.
RELAY = {
    "before-sending": ("outbox.sending:Sending._hand_over", "before", 1),
    "between-sends": ("outbox.sending:Sending._hand_over", "after", 2),
    "before-a-confirm-is-settled": ("outbox.settling:Settling.settle", "before", 5),
    "after-the-last-confirm": ("outbox.relay:Relay._wait_for_confirms", "after", 1),
    "before-marking": ("outbox.marking:Marks.confirm", "before", 2),
    "after-marking": ("outbox.marking:Marks.confirm", "after", 2),
    "while-giving-lanes-back": ("outbox.leases:Leases.leave", "before", 1),
    "after-giving-lanes-back": ("outbox.leases:Leases.leave", "after", 1),
}
CONSUMER = {
    "before-the-inbox-row": ("inbox.handling:_claim", "before", 5),
    "between-row-and-effect": ("inbox.handling:_claim", "after", 5),
    "before-the-commit": ("inbox.handling:_check_unbroken", "after", 5),
    "after-the-commit": ("inbox.workers:handle", "after", 5),
    "before-the-ack": ("brokers.rabbitmq.source:RabbitMQSource.done", "before", 5),
    "after-the-ack": ("brokers.rabbitmq.source:RabbitMQSource.done", "after", 5),
}
POINTS = {f"relay-{name}": point for name, point in RELAY.items()} | {
    f"consumer-{name}": point for name, point in CONSUMER.items()
}


def arm(name: str) -> None:
    """Let this process die there."""
    path, when, count = POINTS[name]
    module, _, attribute = path.partition(":")
    owner: Any = import_module(f"django_strangler.{module}")
    *classes, function = attribute.split(".")
    for each in classes:
        owner = getattr(owner, each)
    setattr(owner, function, _mortal(getattr(owner, function), when, count))


def _mortal(function: Callable[..., Any], when: str, count: int) -> Callable[..., Any]:
    calls = itertools.count(1)

    def call(*args: Any, **options: Any) -> Any:
        is_the_one = next(calls) == count
        if is_the_one and when == "before":
            os._exit(CRASHED)
        result = function(*args, **options)
        if is_the_one:
            os._exit(CRASHED)
        return result

    return call
