"""Events, and somebody who may do less."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress

from tests.brokers.factories import outgoing
from tests.brokers.rabbit import with_options
from tests.services.base import Unavailable

SECRET = "s3cret-Pa55"


QUICK = {"heartbeat": 1, "confirm_timeout": 1, "connection_timeout": 1}


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
    with suppress(Unavailable):
        node.ctl("delete_user", name)
    node.ctl("add_user", name, SECRET)
    node.ctl("set_permissions", "-p", vhost, name, configure, write, "")
    if topic is not None:
        node.ctl("set_topic_permissions", "-p", vhost, name, rabbit.exchange, topic, "")
    yield with_options(rabbit.url, user=name, password=SECRET)
    node.ctl("delete_user", name)


def collect_for(broker, seconds):
    """Whatever is reported within a span of time."""
    found, over = [], threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    while not over.is_set():
        found += broker.outcomes(0.05)
    return found
