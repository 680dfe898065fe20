"""What a doctor can see of RabbitMQ, without a message in anybody's queue."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterator
from typing import Any

import pika

from django_strangler.conf import Settings
from django_strangler.findings import Finding, Level

from .declare import ask, declare_exchange, find_exchange
from .explain import explain, quieten_pika
from .management import hidden_by_alternate, inspect_bindings
from .urls import Node, parse_nodes

OLDEST = (3, 10)


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
    todo = todo or "Start it, or correct STRANGLER['BROKER_URL']."
    return Finding(Level.TROUBLE, what, todo)


def _version(connection: Any, node: Node) -> Finding:
    given = connection._impl.server_properties.get("version", b"")
    version = given.decode() if isinstance(given, bytes) else str(given)
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers < OLDEST:
        return Finding(
            Level.TROUBLE,
            f"{node.shown} is RabbitMQ {version or 'of an unknown version'}; it may "
            "confirm only some of several messages",
            "Upgrade to RabbitMQ 3.10 or later.",
        )
    return Finding(Level.FINE, f"{node.shown} answers: RabbitMQ {version}")


def _exchange(connection: Any, name: str) -> Iterator[Finding]:
    code, text = find_exchange(connection, name)
    if code == 404:
        yield Finding(
            Level.TROUBLE,
            f"The exchange {name!r} does not exist",
            "Create it, durable and of type topic, or start a relay that may "
            "configure it.",
        )
        return
    if code:
        yield Finding(Level.UNKNOWN, f"The exchange {name!r} cannot be seen: {text}")
        return
    # To declare what is there changes nothing, and compares.
    code, text = declare_exchange(connection, name)
    if code == 406 and "'alternate-exchange'" in text:
        yield hidden_by_alternate(name)
    elif code == 406 and ("'type'" in text or "'durable'" in text):
        yield Finding(
            Level.TROUBLE,
            f"The exchange {name!r} is not durable and of type topic: {text}",
            "Name another one in STRANGLER['EXCHANGE'], or replace it.",
        )
    elif code == 403:
        yield Finding(
            Level.UNKNOWN,
            f"The exchange {name!r} is there; its type cannot be seen by a user "
            "without the permission to configure it",
        )
    else:
        yield Finding(Level.FINE, f"The exchange {name!r} is durable and of type topic")


def _permission(connection: Any, name: str, node: Node) -> Iterator[Finding]:
    # To remove a binding that is not there changes nothing. It needs the permission to
    # write to the exchange, and only then that to read from the other one.
    code, text = ask(
        connection,
        lambda it: it.exchange_unbind(name, "amq.topic", f"doctor-{uuid.uuid4()}"),
    )
    if code == 403 and f"'{name}'" in text:
        yield Finding(
            Level.TROUBLE,
            f"{node.user!r} may not write to the exchange {name!r}",
            # Not all of it: that would take away what it may configure and read.
            f"Put ^{name}$ into its write permission; see: rabbitmqctl "
            f"list_user_permissions {node.user}",
        )
    elif code in (0, 403):
        yield Finding(Level.FINE, f"{node.user!r} may write to the exchange {name!r}")
