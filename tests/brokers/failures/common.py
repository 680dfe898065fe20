"""Events, and somebody who may do less."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

from tests.brokers.factories import outgoing
from tests.brokers.rabbit import with_options

SECRET = "s3cret-Pa55"


# Not so quick that a machine that stands still for a second counts as one more outage;
# and what misses heartbeats, on either side, is later than what misses confirms.
QUICK = {"heartbeat": 10, "confirm_timeout": 3, "connection_timeout": 5}


def events(first: int, last: int, type: str = "payment.completed"):
    return [
        outgoing(row, type, key=f"payments:{row}") for row in range(first, last + 1)
    ]


def vhost_of(rabbit) -> str:
    return rabbit.url.rpartition("/")[2]


@contextmanager
def user(node, rabbit, *, configure="", write=".*", topic=None):
    """Someone else, who may do less."""
    name, vhost = "writer", vhost_of(rabbit)
    calls = [
        ("add_user", name, SECRET),
        ("set_permissions", name, vhost, configure, write, ""),
    ]
    if topic is not None:
        calls.append(("set_topic_permissions", name, vhost, rabbit.exchange, topic, ""))
    node.evaluate(f"(catch {_call('delete_user', name)})")
    node.evaluate(", ".join(_call(*each) for each in calls))
    yield with_options(rabbit.url, user=name, password=SECRET)
    node.evaluate(_call("delete_user", name))


def _call(function: str, *arguments: str) -> str:
    texts = [f"<<{json.dumps(each)}>>" for each in (*arguments, "tests")]
    return f"rabbit_auth_backend_internal:{function}({', '.join(texts)})"


def collect_for(broker, seconds):
    """Whatever is reported within a span of time."""
    found, over = [], threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    while not over.is_set():
        found += broker.outcomes(0.05)
    return found
