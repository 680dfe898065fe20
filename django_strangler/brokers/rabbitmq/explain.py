"""What is wrong with a connection, in words."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator

import pika

from .urls import Node

logger = logging.getLogger("django_strangler.brokers.rabbitmq")
# What a connection's announcer says: that, and what to do; and where all is well again.
TROUBLE = "RabbitMQ: %s. %s"
WELL = "RabbitMQ: all is well again; connected to %s."


def explain(error: BaseException, node: Node) -> tuple[str, str]:
    """
    What is wrong, and what to do, in words that stay the same while it lasts.

    What to do is empty if the place is all that can be looked at.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, pika.exceptions.ProbableAuthenticationError):
            return (
                f"{node.shown} refuses the login of {node.user!r}",
                "Correct user and password in STRANGLER['BROKER_URL'].",
            )
        if isinstance(cause, pika.exceptions.ProbableAccessDeniedError):
            return (
                f"{node.shown} has no virtual host {node.vhost!r} for {node.user!r}",
                "Correct the path of STRANGLER['BROKER_URL'], or create the virtual "
                "host and give the user permissions there.",
            )
        if isinstance(cause, pika.exceptions.ConnectionClosedByBroker):
            return f"{node.shown} closed the connection: {cause.reply_text}", ""
        if isinstance(cause, ssl.SSLError):
            # Of a certificate: what is wrong with it.
            why = getattr(cause, "verify_message", "") or cause.reason or cause
            return (
                f"{node.shown} cannot be trusted over TLS: {why}",
                "See cacertfile, certfile and verify in the reference of broker URLs.",
            )
        if isinstance(cause, socket.gaierror):
            return f"the name of {node.shown} cannot be resolved", "Correct it."
        if isinstance(cause, pika.exceptions.AMQPHeartbeatTimeout):
            return (
                f"{node.shown} is silent, no heartbeat comes",
                "The network or the node hangs; another connection is tried.",
            )
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{node.shown} cannot be reached: {cause.strerror}", ""
    if any("Timeout" in type(cause).__name__ for cause in causes):
        return f"{node.shown} does not answer", ""
    return f"the connection to {node.shown} was lost: {error}", ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """pika wraps errors in attributes and arguments: all, the outermost first."""
    yield error
    inner = [
        *getattr(error, "exceptions", ()),
        getattr(error, "exception", None),
        getattr(error, "_reason", None),
        error.__cause__,
        *error.args,
    ]
    for each in inner:
        if isinstance(each, BaseException):
            yield from _causes(each)


class _OnlyOthers(logging.Filter):
    """
    Drops what pika says on our threads: it says each failure five times, and we once.

    A bug of ours, which pika logs with its traceback, passes. Give the logger ``pika``
    a level to see everything.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        # pika looks up host names on threads that it does not name.
        ours = hasattr(_this_thread, "is_ours") or record.funcName == "_resolve"
        error = record.exc_info[1] if record.exc_info else None
        foreseen = (OSError, pika.exceptions.AMQPError, type(None))
        wanted = logging.getLogger("pika").level != logging.NOTSET
        return not ours or wanted or not isinstance(error, foreseen)


# Not by number: when a thread has ended, another program's may get its number.
_this_thread = threading.local()
_filter = _OnlyOthers()


def quieten_pika() -> None:
    """From now on, for the thread that calls this."""
    _this_thread.is_ours = True
    # A logger's filters are not asked for its children's records.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "pika":
            logging.getLogger(name).addFilter(_filter)
