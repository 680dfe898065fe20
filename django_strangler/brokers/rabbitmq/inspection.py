"""What a doctor can see of RabbitMQ, without a message in anybody's queue."""

from __future__ import annotations

import base64
import contextlib
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pika

from django_strangler.brokers.base import Finding, shown_url
from django_strangler.brokers.patterns import matches
from django_strangler.conf import Settings

from .diary import explain, quieten_pika
from .topology import ask
from .urls import Node, parse_nodes

PATIENCE = 3.0  # Seconds to wait for an answer.
OLDEST = (3, 10)
_REPLAY = "Bind its queue, then run: manage.py replay_events --unroutable"


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
            yield Finding("trouble", *explain(error, node))
            continue
        reached.append(node)
        try:
            yield _version(connection, node)
            if len(reached) == 1:
                yield from _exchange(connection, settings.exchange)
                yield from _permission(connection, settings.exchange, node)
            yield _alarm(connection, node)
        except pika.exceptions.AMQPError as error:
            yield Finding("trouble", *explain(error, node))
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()
    if reached:
        api = _Management(reached[0], management)
        yield from api.inspect(settings.exchange, types)


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
        yield _alternate(name)
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
    try:
        while not (blocked or returned) and time.monotonic() < deadline:
            connection.process_data_events(time_limit=0.1)
            if not channel.is_open:
                break
    except pika.exceptions.ChannelClosedByBroker:
        pass  # It may not publish there; being blocked is told all the same.
    if blocked:
        # It would not answer a close() either.
        connection._impl._terminate_stream(pika.exceptions.StreamLostError("blocked"))
        return Finding(
            "trouble",
            f"{node.shown} is blocked: {blocked[0]}. It takes nothing, events wait",
            "Give it memory or disk; see: rabbitmq-diagnostics alarms",
        )
    if returned:
        return Finding("fine", f"{node.shown} has no alarm")
    return Finding(
        "unknown",
        f"Whether {node.shown} has an alarm cannot be seen: {node.user!r} may not "
        "publish to the default exchange",
        "Look with: rabbitmq-diagnostics alarms",
    )


def _alternate(name: str, to: str = "") -> Finding:
    return Finding(
        "trouble",
        f"The exchange {name!r} has an alternate exchange{to}: what no queue wants "
        "goes there, counts as delivered, and is never parked",
        "Remove it; the outbox keeps what is unroutable, for replay.",
    )


class _Management:
    """RabbitMQ's management API: the only one that tells bindings."""

    def __init__(self, node: Node, url: str) -> None:
        self._node = node
        credentials = node.parameters.credentials
        user = getattr(credentials, "username", "")
        password = getattr(credentials, "password", "")
        options = node.parameters.ssl_options
        if not url:
            # Where the plugin listens unless told otherwise.
            scheme, port = ("https", 15671) if options else ("http", 15672)
            url = f"{scheme}://{node.host}:{port}"
        parts = urlsplit(url)
        user, password = parts.username or user, parts.password or password
        netloc = parts.netloc.rpartition("@")[2]
        self._base = f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"
        self._token = base64.b64encode(f"{user}:{password}".encode()).decode()
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if options:
            handlers.append(urllib.request.HTTPSHandler(context=options.context))
        self._opener = urllib.request.build_opener(*handlers)

    def inspect(self, exchange: str, types: Collection[str]) -> Iterator[Finding]:
        """The bindings, and whatever takes all."""
        path = f"{quote(self._node.vhost, '')}/{quote(exchange, '')}"
        try:
            about = self._get(f"exchanges/{path}")
            bindings = self._get(f"exchanges/{path}/bindings/source")
        except (OSError, ValueError) as error:
            yield Finding(
                "unknown",
                f"Bindings cannot be seen: {shown_url(self._base)} does not tell them "
                f"({error})",
                "Enable rabbitmq_management, give the user the tag management, or "
                "name its place: strangler_doctor --management http://user:…@host:15672",
            )
            return
        policy = about.get("effective_policy_definition") or {}
        alternate = about.get("arguments", {}).get("alternate-exchange") or policy.get(
            "alternate-exchange"
        )
        if alternate:
            yield _alternate(exchange, f", {alternate!r}")
        yield from _bindings(
            {(each["destination"], each["routing_key"]) for each in bindings}, types
        )

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(
            f"{self._base}/api/{path}",
            headers={"Authorization": f"Basic {self._token}"},
        )
        with self._opener.open(request, timeout=PATIENCE) as answer:
            return json.load(answer)


def _bindings(
    bindings: Collection[tuple[str, str]], types: Collection[str]
) -> Iterator[Finding]:
    everything = sorted(queue for queue, pattern in bindings if pattern == "#")
    own = [(queue, pattern) for queue, pattern in bindings if pattern != "#"]
    for type in sorted(types):
        if any(matches(pattern, type) for _queue, pattern in own):
            continue
        if everything:
            yield Finding(
                "trouble",
                f"{type!r} goes only to {', '.join(everything)}, bound for '#': if its "
                "own queue is missing, nothing tells, for it counts as delivered",
                "Bind its queue, or narrow what is bound for '#'.",
            )
        else:
            yield Finding("trouble", f"No queue is bound for {type!r}", _REPLAY)
    yield Finding(
        "fine", f"{len(bindings)} bindings were seen; {len(types)} types are in use"
    )
