"""What ``manage.py check`` says about the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from django.apps.config import AppConfig
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections, router

from django_strangler.exceptions import ConfigurationError

from .models import OutboxEvent

_SQLITE_LINES = """\
Put this into DATABASES[%r]:

    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL",
    },"""


def check_sqlite(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """W001: views and a relay would get in each other's way on SQLite."""
    return [
        checks.Warning(
            f"The SQLite database {alias!r} fails with 'database is locked' when a "
            "view publishes while a relay works, whatever the timeout.",
            hint=_SQLITE_LINES % alias,
            id="strangler.W001",
        )
        for alias in connections
        if connections[alias].vendor == "sqlite"
        and router.allow_migrate_model(alias, OutboxEvent)
        and not _suits_two_writers(connections[alias].settings_dict)
    ]


def _suits_two_writers(database: dict[str, Any]) -> bool:
    name, options = str(database["NAME"]), database.get("OPTIONS", {})
    if name == ":memory:" or "mode=memory" in name:
        return True  # No other process can have it.
    command = "".join(str(options.get("init_command", "")).split()).lower()
    wal = "journal_mode=wal" in command or _is_wal(name)
    return wal and str(options.get("transaction_mode", "")).upper() == "IMMEDIATE"


def _is_wal(name: str) -> bool:
    # The mode is a property of the file, which says so in its header.
    try:
        with open(name, "rb") as file:
            return file.read(20)[18:] == b"\x02\x02"
    except OSError:
        return False


def check_broker_for_production(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """W005 to W008: what is right on a laptop, and wrong in production."""
    from django_strangler import conf
    from django_strangler.brokers import broker_class

    try:
        settings = conf.current()
        found = broker_class(settings.broker_url)
    except ConfigurationError:
        return []  # E001 says so.
    if found.for_development:
        return [
            checks.Warning(
                f"STRANGLER['BROKER_URL'] is {found.destination(settings)}: events "
                "reach no other process. Without the key it is local://.",
                hint='Set "BROKER_URL": "amqps://user@host/vhost", or silence this '
                "check if that is meant.",
                id="strangler.W005",
            )
        ]
    return [each for url in settings.broker_url for each in _of_url(url)]


def _of_url(url: str) -> Iterator[CheckMessage]:
    try:
        parts = urlsplit(url)
        host, user = parts.hostname or "localhost", unquote(parts.username or "guest")
    except ValueError:
        return  # The relay says so.
    if parts.scheme not in ("amqp", "amqps") or "external" in parts.query:
        return
    if parts.password:
        yield checks.Warning(
            "STRANGLER['BROKER_URL'] holds a password, which Django's error reports "
            "show: they mask by the name of a setting.",
            hint="Put it into STRANGLER['BROKER_PASSWORD'].",
            id="strangler.W008",
        )
    if user == "guest":
        yield checks.Warning(
            f"The user for RabbitMQ on {host!r} is guest, who may do everything.",
            hint="Give the relay a user of its own; see RabbitMQ in production.",
            id="strangler.W006",
        )
    if parts.scheme == "amqp" and not _is_this_host(host):
        yield checks.Warning(
            f"amqp:// sends the password and every event to {host!r} unencrypted.",
            hint="Use amqps://, or silence this check if the network is encrypted.",
            id="strangler.W007",
        )


def _is_this_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
