"""The contracts as an AsyncAPI 3 document, and as a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django_strangler import conf
from django_strangler.inbox.subscribers import registry as subscribers

from .needs import Need
from .reporting import describe
from .samples import sample_of
from .snapshots import Snapshot, schema_id, walk

# docs/reference/wire.md, as far as every event has it.
_HEADERS = {
    "type": "object",
    "properties": {
        "strangler-key": {"type": "string", "description": "What it is about."},
        "strangler-published-at": {"type": "string", "format": "date-time"},
        "traceparent": {"type": "string", "description": "The trace, by W3C."},
        "contract-version": {"type": "integer", "description": "Without it: 1."},
    },
    "required": ["strangler-published-at"],
}


def document(
    snapshots: Mapping[str, Snapshot], needs: Sequence[Need]
) -> dict[str, Any]:
    """What is sent where, and who receives it. No server: its URL holds secrets."""
    settings = conf.current()
    version = max((each.major for each in snapshots.values()), default=1)
    readers = {(each.reader, each.type) for each in needs if each.type in snapshots} | {
        (each.name, type)
        for each in subscribers.all()
        for type in snapshots
        if each.is_bound_to(type)
    }
    channels, operations, messages = {}, {}, {}
    for type, snapshot in snapshots.items():
        channels[type] = {
            "address": type,
            "messages": {type: {"$ref": f"#/components/messages/{type}"}},
            "bindings": {"amqp": _channel(settings.exchange)},
        }
        messages[type] = _message(snapshot)
        operations[f"send-{type}"] = _operation("send", type)
    for reader, type in sorted(readers):
        operations[f"receive-{type}-{_word(reader)}"] = _operation("receive", type)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Events of {settings.source}",
            "version": f"{version}.0.0",
            "description": "Written by manage.py strangler_contracts asyncapi.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _channel(exchange: str) -> dict[str, Any]:
    return {
        "is": "routingKey",
        "exchange": {
            "name": exchange,
            "type": "topic",
            "durable": True,
            "autoDelete": False,
        },
        "bindingVersion": "0.3.0",
    }


def _message(snapshot: Snapshot) -> dict[str, Any]:
    schema = snapshot.schema
    told = {
        "name": snapshot.type,
        "title": snapshot.type,
        "summary": schema.get("description"),
        "contentType": "application/json",
        "headers": _HEADERS,
        "payload": {"$id": schema_id(snapshot.type, snapshot.major), **schema},
        "examples": [{"payload": sample_of(schema, full=True)}],
        "x-version": snapshot.label,
        "x-key": snapshot.key or None,
        "x-owner": snapshot.owner or None,
        "x-until": snapshot.until,
    }
    return {name: value for name, value in told.items() if value is not None}


def _operation(action: str, type: str) -> dict[str, Any]:
    channel = f"#/channels/{type}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{type}"}],
    }


def _word(reader: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", reader)


def as_page(snapshots: Mapping[str, Snapshot], needs: Sequence[Need]) -> str:
    """The same for people, in Markdown."""
    made = document(snapshots, needs)
    return "\n".join(_page(made, snapshots))


def _page(made: Mapping[str, Any], snapshots: Mapping[str, Snapshot]) -> Iterator[str]:
    yield f"# {made['info']['title']}\n"
    yield "Written by `manage.py strangler_contracts asyncapi --page`.\n"
    for type, snapshot in snapshots.items():
        prefix = f"receive-{type}-"
        readers = sorted(
            name.removeprefix(prefix)
            for name, each in made["operations"].items()
            if each["action"] == "receive"
            and each["channel"]["$ref"] == f"#/channels/{type}"
        )
        yield f"## `{type}`\n"
        if "description" in snapshot.schema:
            yield f"{snapshot.schema['description']}\n"
        facts = {
            "version": snapshot.label,
            "key": snapshot.key,
            "owner": snapshot.owner,
            "until": snapshot.until,
            "readers": ", ".join(readers),
        }
        told = (f"{name}: {value}" for name, value in facts.items() if value)
        yield f"{' · '.join(told)}\n"
        yield "| field | type | |\n|---|---|---|"
        for path, inner, is_required in walk(snapshot.schema):
            said = inner.get("description", "") if is_required else "optional"
            yield f"| `{path}` | {_cell(describe(inner))} | {_cell(said)} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
