"""AMQP URLs: the parameters of RabbitMQ's URI specification, and one of our own."""

from __future__ import annotations

import os
import random
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

import pika

from django_strangler.brokers.base import has_stray_at, shown_url
from django_strangler.exceptions import ConfigurationError

from .cloudevents import PREFIXES

_TLS = ("cacertfile", "certfile", "keyfile", "verify", "server_name_indication")
_OTHERS = (
    "auth_mechanism",
    "heartbeat",
    "connection_timeout",
    "confirm_timeout",
    "user_id",
    "cloudevents",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One RabbitMQ node, as its URL names it."""

    shown: str  # For logs: without password and parameters.
    host: str
    port: int
    user: str
    vhost: str
    confirm_timeout: float
    vouched_user: str  # What messages name as their user_id; empty: nothing.
    cloudevents: str  # The dialect in which headers say it as well; empty: none.
    parameters: pika.ConnectionParameters


def parse_nodes(urls: Sequence[str]) -> list[Node]:
    """The nodes of one cluster, shuffled, so that relays spread over them."""
    try:
        nodes = [parse(url) for url in urls]
    except ConfigurationError as error:
        # Error reports show the variables of each frame, and there passwords are.
        raise error.with_traceback(None) from None
    random.shuffle(nodes)
    return nodes


def parse(url: str) -> Node:
    """Check a URL; what is wrong with it is named, its password never."""
    try:
        parts = urlsplit(url)
        port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        # Without the cause, which quotes what stands where a port should be.
        raise _wrong(
            url, "cannot be parsed. Percent-encode what stands in it"
        ) from None
    if has_stray_at(url):
        raise _wrong(
            url,
            "has an @ behind the host. Percent-encode the password: / is %2F, # is "
            "%23, ? is %3F and @ is %40; or put it into STRANGLER['BROKER_PASSWORD']",
        )
    if parts.scheme not in ("amqp", "amqps"):
        raise _wrong(url, "does not begin with amqp:// or amqps://")
    known = (*_TLS, *_OTHERS) if parts.scheme == "amqps" else _OTHERS
    for name in options:
        if name not in known:
            hint = " It needs amqps://." if name in _TLS else ""
            raise _wrong(
                url,
                f"has an unknown parameter {name!r}.{hint} Known: {', '.join(known)}",
            )
    host = parts.hostname or "localhost"
    user = unquote(parts.username or "guest")
    vhost = unquote(parts.path[1:]) or "/"
    timeout = _seconds(url, options, "connection_timeout", 10.0)
    parameters = pika.ConnectionParameters(
        host=host,
        port=port,
        virtual_host=vhost,
        credentials=_credentials(
            url, options, user, unquote(parts.password or "guest")
        ),
        # A relay that is paused for longer loses its connection, and nothing else.
        heartbeat=round(_seconds(url, options, "heartbeat", 15.0, least=0)),
        socket_timeout=timeout,
        stack_timeout=timeout,
        # A blocked connection is reported, and waited for without limit.
        blocked_connection_timeout=None,
        ssl_options=_tls(url, options, host) if parts.scheme == "amqps" else None,
        client_properties={
            "connection_name": f"django-strangler {socket.gethostname()} {os.getpid()}",
            "product": "django-strangler",
        },
    )
    return Node(
        shown=shown_url(url),
        host=host,
        port=port,
        user=user,
        vhost=vhost,
        confirm_timeout=_seconds(url, options, "confirm_timeout", 5.0),
        vouched_user=_vouched_user(url, options, user),
        cloudevents=_cloudevents(url, options),
        parameters=parameters,
    )


def _wrong(url: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"STRANGLER['BROKER_URL'] {shown_url(url)!r} {what}.")


def _seconds(
    url: str, options: Mapping[str, str], name: str, default: float, least: float = 0.05
) -> float:
    try:
        seconds = float(options.get(name, default))
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= 86400:
        raise _wrong(url, f"needs seconds, from {least:g} to a day, for {name}")
    return seconds


def _credentials(
    url: str, options: Mapping[str, str], user: str, password: str
) -> pika.credentials.PlainCredentials | pika.credentials.ExternalCredentials:
    mechanism = options.get("auth_mechanism", "plain").lower()
    if mechanism not in ("plain", "external"):
        raise _wrong(url, "needs plain or external for auth_mechanism")
    if mechanism == "external":  # The client certificate says who it is.
        return pika.credentials.ExternalCredentials()
    return pika.PlainCredentials(user, password)


def _vouched_user(url: str, options: Mapping[str, str], user: str) -> str:
    wanted = options.get("user_id", "on")
    if wanted not in ("on", "off"):
        raise _wrong(url, "needs on or off for user_id")
    is_plain = options.get("auth_mechanism", "plain").lower() == "plain"
    # A certificate's user is known to RabbitMQ alone.
    return user if wanted == "on" and is_plain else ""


def _cloudevents(url: str, options: Mapping[str, str]) -> str:
    dialect = options.get("cloudevents", "")
    if dialect and dialect not in PREFIXES:
        raise _wrong(url, f"needs {' or '.join(PREFIXES)} for cloudevents")
    return dialect


def _tls(url: str, options: Mapping[str, str], host: str) -> pika.SSLOptions:
    verify = options.get("verify", "verify_peer")
    if verify not in ("verify_peer", "verify_none"):
        raise _wrong(url, "needs verify_peer or verify_none for verify")
    if "keyfile" in options and "certfile" not in options:
        raise _wrong(url, "has a keyfile but no certfile")
    try:
        context = ssl.create_default_context(cafile=options.get("cacertfile"))
        if verify == "verify_none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if "certfile" in options:
            # No prompt on the terminal for the passphrase of an encrypted key.
            context.load_cert_chain(
                options["certfile"], options.get("keyfile"), password=lambda: ""
            )
    except OSError as error:  # ssl.SSLError is one as well.
        raise _wrong(
            url, f"names certificates that cannot be loaded ({error}). Check the paths"
        ) from error
    return pika.SSLOptions(context, options.get("server_name_indication", host))
