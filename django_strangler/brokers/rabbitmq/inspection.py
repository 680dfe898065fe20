"""What a doctor can see of RabbitMQ, without a message in anybody's queue."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Collection, Iterator
from typing import Any

import pika

from django_strangler.brokers.base import Finding
from django_strangler.conf import Settings

from .diary import explain, quieten_pika
from .management import hidden_by_alternate, inspect_bindings
from .topology import ask
from .urls import Node, parse_nodes

PATIENCE = 3.0  # Seconds to wait for an answer.
OLDEST = (3, 10)
_AGAIN = "It is tried again until it works."


def inspect(
    settings: Settings, types: Collection[str], management: str = ""
) -> Iterator[Finding]:
    """Every node; then, over the first that answers, the exchange and its bindings."""
    quieten_pika()
    reached: list[Node] = []
    for node in sorted(parse_nodes(settings.broker_url), key=lambda node: node.shown):
        try:
            connection = pika.BlockingConnection(node.parameters)
        except (pika.exceptions.AMQPError, OSError) as error:
            yield _explained(error, node)
            continue
        reached.append(node)
        try:
            yield _version(connection, node)
            if len(reached) == 1:
                yield from _exchange(connection, settings.exchange)
                yield from _permission(connection, settings.exchange, node)
            yield _alarm(connection, node)
        except pika.exceptions.AMQPError as error:
            yield _explained(error, node)
        finally:
            # What was found is told. Who was dropped or lost meanwhile says so again
            # here; it is what frees the socket all the same.
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()
    if reached:
        yield from inspect_bindings(reached[0], management, settings.exchange, types)


def _explained(error: BaseException, node: Node) -> Finding:
    what, todo = explain(error, node)
    # A relay tries again, and a doctor does not.
    todo = todo.replace(_AGAIN, "Start it, or correct STRANGLER['BROKER_URL'].")
    return Finding("trouble", what, todo)


def _version(connection: Any, node: Node) -> Finding:
    given = connection._impl.server_properties.get("version", b"")
    version = given.decode() if isinstance(given, bytes) else str(given)
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers < OLDEST:
        return Finding(
            "trouble",
            f"{node.shown} is RabbitMQ {version or 'of an unknown version'}; it may "
            "confirm only some of several messages",
            "Upgrade to RabbitMQ 3.10 or later.",
        )
    return Finding("fine", f"{node.shown} answers: RabbitMQ {version}")


def _exchange(connection: Any, name: str) -> Iterator[Finding]:
    code, text = ask(connection, lambda it: it.exchange_declare(name, passive=True))
    if code == 404:
        yield Finding(
            "trouble",
            f"The exchange {name!r} does not exist",
            "Create it, durable and of type topic, or start a relay that may "
            "configure it.",
        )
        return
    if code:
        yield Finding("unknown", f"The exchange {name!r} cannot be seen: {text}")
        return
    # To declare what is there changes nothing, and compares.
    code, text = ask(
        connection, lambda it: it.exchange_declare(name, "topic", durable=True)
    )
    if code == 406 and "'alternate-exchange'" in text:
        yield hidden_by_alternate(name)
    elif code == 406 and ("'type'" in text or "'durable'" in text):
        yield Finding(
            "trouble",
            f"The exchange {name!r} is not durable and of type topic: {text}",
            "Name another one in STRANGLER['EXCHANGE'], or replace it.",
        )
    elif code == 403:
        yield Finding(
            "unknown",
            f"The exchange {name!r} is there; its type cannot be seen by a user "
            "without the permission to configure it",
        )
    else:
        yield Finding("fine", f"The exchange {name!r} is durable and of type topic")


def _permission(connection: Any, name: str, node: Node) -> Iterator[Finding]:
    # To remove a binding that is not there changes nothing. It needs the permission to
    # write to the exchange, and only then that to read from the other one.
    code, text = ask(
        connection,
        lambda it: it.exchange_unbind(name, "amq.topic", f"doctor-{uuid.uuid4()}"),
    )
    if code == 403 and f"'{name}'" in text:
        yield Finding(
            "trouble",
            f"{node.user!r} may not write to the exchange {name!r}",
            # Not all of it: that would take away what it may configure and read.
            f"Put ^{name}$ into its write permission; see: rabbitmqctl "
            f"list_user_permissions {node.user}",
        )
    elif code in (0, 403):
        yield Finding("fine", f"{node.user!r} may write to the exchange {name!r}")


def _alarm(connection: Any, node: Node) -> Finding:
    """Publish to a queue that cannot exist: an alarm blocks whoever publishes."""
    blocked: list[str] = []
    returned: list[object] = []
    connection.add_on_connection_blocked_callback(
        lambda _connection, frame: blocked.append(str(frame.method.reason))
    )
    channel = connection.channel()
    channel.add_on_return_callback(lambda *message: returned.append(message))
    channel.basic_publish("", f"doctor-{uuid.uuid4()}", b"", mandatory=True)
    deadline = time.monotonic() + PATIENCE
    # Closed: it may not publish there. Being blocked is told all the same.
    with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
        while not (blocked or returned) and channel.is_open:
            if time.monotonic() > deadline:
                break
            connection.process_data_events(time_limit=0.1)
    is_silent = channel.is_open and not returned
    if blocked or is_silent:
        # It would not answer a close() either, and pika would wait for that.
        connection._impl._terminate_stream(pika.exceptions.StreamLostError("silent"))
    if blocked:
        return Finding(
            "trouble",
            f"{node.shown} is blocked: {blocked[0]}. It takes nothing, events wait",
            "Give it memory or disk; see: rabbitmq-diagnostics alarms",
        )
    if returned:
        return Finding("fine", f"{node.shown} has no alarm")
    why = f"{node.user!r} may not publish to the default exchange"
    if is_silent:
        why = f"it has not answered within {PATIENCE:g} s"
    return Finding(
        "unknown",
        f"Whether {node.shown} has an alarm cannot be seen: {why}",
        "Look with: rabbitmq-diagnostics alarms",
    )
