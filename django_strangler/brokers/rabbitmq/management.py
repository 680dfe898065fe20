"""RabbitMQ's management API: the only one that tells bindings."""

from __future__ import annotations

import base64
import http.client
import json
import os
import urllib.request
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from django_strangler.brokers.base import shown_url
from django_strangler.brokers.patterns import matches
from django_strangler.exceptions import BrokerError
from django_strangler.findings import Finding, Level
from django_strangler.printable import how_many

from .urls import Node

PATIENCE = 3.0  # Seconds to wait for an answer.
_REPLAY = "Bind its queue, then run: manage.py replay_events --unroutable"


def inspect_bindings(
    node: Node, url: str, exchange: str, types: Collection[str]
) -> Iterator[Finding]:
    """Who takes these types, as the API at this URL, or beside the node, tells it."""
    try:
        api = _Management(node, url)
    except BrokerError:
        what, todo = _NO_URL
        yield Finding(Level.UNKNOWN, f"Bindings cannot be seen: {what}", todo)
        return
    path = f"{quote(node.vhost, '')}/{quote(exchange, '')}"
    try:
        alternate = _alternate_exchange(api.get(f"exchanges/{path}"))
        found = _seen(api, path)
    except _SOMETHING_ELSE as error:
        yield Finding(
            Level.UNKNOWN,
            f"Bindings cannot be seen: {shown_url(api.base)} does not tell them "
            f"({error})",
            "Enable rabbitmq_management, give the user the tag management, or "
            "name its place: strangler_doctor --management http://user:…@host:15672",
        )
        return
    if alternate:
        yield hidden_by_alternate(exchange, f", {alternate!r}")
    yield from _bindings(found, types)


def bindings(node: Node, url: str, exchange: str) -> set[tuple[str, str]]:
    """Queues and what they are bound for; ``BrokerError`` if nobody tells."""
    try:
        api = _Management(node, url)
        return _seen(api, f"{quote(node.vhost, '')}/{quote(exchange, '')}")
    except _SOMETHING_ELSE as error:
        raise BrokerError(
            f"RabbitMQ's management API does not tell bindings ({error}). Name its "
            "place: --management http://user:…@host:15672."
        ) from error


# Also: what answers there is no management API.
_SOMETHING_ELSE = (OSError, ValueError, LookupError, TypeError, AttributeError)


def _seen(api: _Management, path: str) -> set[tuple[str, str]]:
    return {
        (each["destination"], each["routing_key"])
        for each in api.get(f"exchanges/{path}/bindings/source")
    }


def hidden_by_alternate(name: str, to: str = "") -> Finding:
    """An alternate exchange swallows what no queue wants."""
    return Finding(
        Level.TROUBLE,
        f"The exchange {name!r} has an alternate exchange{to}: what no queue wants "
        "goes there, counts as delivered, and is never parked",
        "Remove it; the outbox keeps what is unroutable, for replay.",
    )


_NO_URL = (
    "--management is not a URL",
    "Write it as http://user:password@host:15672, and percent-encode what stands in "
    "it.",
)
USER, PASSWORD = "RABBITMQ_MANAGEMENT_USER", "RABBITMQ_MANAGEMENT_PASSWORD"


class _Management:
    def __init__(self, node: Node, url: str) -> None:
        credentials, options = node.parameters.credentials, node.parameters.ssl_options
        user = getattr(credentials, "username", "")
        password = getattr(credentials, "password", "")
        if not url:
            # Where the plugin listens unless told otherwise.
            scheme, port = ("https", 15671) if options else ("http", 15672)
            host = f"[{node.host}]" if ":" in node.host else node.host
            url = f"{scheme}://{host}:{port}"
        parts = _parsed(url)
        if parts.username:
            user, password = unquote(parts.username), unquote(parts.password or "")
        elif USER in os.environ:
            # Not as an argument, which every process of the host can read.
            user, password = os.environ[USER], os.environ.get(PASSWORD, "")
        elif parts.hostname not in (node.host, "localhost", "127.0.0.1", "::1"):
            user = password = ""  # The broker's are for the broker's host.
        netloc = parts.netloc.rpartition("@")[2]
        self.base = f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"
        self._token = base64.b64encode(f"{user}:{password}".encode()).decode()
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if options:
            handlers.append(urllib.request.HTTPSHandler(context=options.context))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> Any:
        request = urllib.request.Request(f"{self.base}/api/{path}")
        # Not for wherever this one may redirect to.
        request.add_unredirected_header("Authorization", f"Basic {self._token}")
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP: {error}") from error


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.port != 0 and parts.scheme in ("http", "https"):
            return parts
    except ValueError:
        pass  # Its words may hold a part of the password.
    raise BrokerError(". ".join(_NO_URL))


def _alternate_exchange(about: Any) -> str:
    policy = about.get("effective_policy_definition") or {}
    given = about.get("arguments", {}).get("alternate-exchange")
    return str(given or policy.get("alternate-exchange") or "")


def _bindings(
    bindings: Collection[tuple[str, str]], types: Collection[str]
) -> Iterator[Finding]:
    everything = sorted(queue for queue, pattern in bindings if pattern == "#")
    own = [pattern for _queue, pattern in bindings if pattern != "#"]
    for type in sorted(types):
        if any(matches(pattern, type) for pattern in own):
            continue
        if everything:
            yield Finding(
                Level.TROUBLE,
                f"{type!r} goes only to {', '.join(everything)}, bound for '#': if its "
                "own queue is missing, nothing tells, for it counts as delivered",
                "Bind its queue, or narrow what is bound for '#'.",
            )
        else:
            yield Finding(Level.TROUBLE, f"No queue is bound for {type!r}", _REPLAY)
    yield Finding(
        Level.FINE,
        f"{how_many(len(bindings), 'binding')} seen, and "
        f"{how_many(len(types), 'type')} in use",
    )
