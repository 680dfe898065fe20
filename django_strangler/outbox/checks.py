"""What ``manage.py check`` says about the outbox."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import apps
from django.apps.config import AppConfig
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections, router

from django_strangler.exceptions import ConfigurationError

from .models import OutboxEvent

_SQLITE_LINES = """\
Put this into DATABASES[%r]:

    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL",
    },"""


@register(Tags.compatibility)
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


@register(Tags.compatibility)
def check_idempotency(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E002: idempotency keys are used, and rows are deleted once confirmed."""
    # Here: checks are registered in every process, and run in few.
    from django_strangler import conf

    try:
        if conf.current().retention:
            return []
    except ConfigurationError:
        return []  # E001 says so.
    return [
        Error(
            f"{place} publishes with an idempotency_key, but STRANGLER['RETENTION'] is "
            "0: the key is forgotten as soon as its event is confirmed.",
            hint="Set RETENTION to as long as a repetition may come: 7 days, say.",
            id="strangler.E002",
        )
        for app in apps.get_app_configs()
        if not {"site-packages", "dist-packages"} & set(Path(app.path).parts)
        and app.name != "django_strangler"
        for place in _uses_of_idempotency_keys(Path(app.path))
    ]


def _uses_of_idempotency_keys(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        try:
            source = path.read_text(encoding="utf-8")
            # Parsing is slow, and hardly any file holds the words.
            if "idempotency_key" not in source or "publish_event" not in source:
                continue
            tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError):
            continue  # Nothing that runs.
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _publishes_with_a_key(node):
                yield f"{path}:{node.lineno}"


def _publishes_with_a_key(call: ast.Call) -> bool:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return name == "publish_event" and any(
        keyword.arg == "idempotency_key"
        and not (
            isinstance(keyword.value, ast.Constant) and keyword.value.value is None
        )
        for keyword in call.keywords
    )
