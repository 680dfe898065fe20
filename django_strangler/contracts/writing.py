"""The files that the contracts of this project should have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django_strangler import conf

from .declare import registry
from .events import Contract
from .needs import forgotten_files, own_files
from .samples import sample_of
from .snapshots import Snapshot, Store, as_text, planned

# Of samples; docs/reference/wire.md has the rest.
_ID = "0197b1a4-3c00-7000-8000-000000000001"
_SECONDS, _MOMENT = 1_893_834_000, "2030-01-05T09:00:00.000000+00:00"


def current(store: Store) -> dict[str, Snapshot]:
    """What each declared type's newest snapshot has to be."""
    registry.discover()
    return {
        type: planned(
            contract,
            store.of(type),
            str(day) if (day := registry.sunset(type)) else None,
        )
        for type, contract in sorted(registry.events.items())
    }


def unwritten(store: Store) -> dict[Path, str | None]:
    """Files that are missing or not as they should be, with their text; None: to go."""
    wanted: dict[Path, str | None] = {}
    for type, snapshot in current(store).items():
        wanted[store.path(snapshot)] = snapshot.text
        sample = store.root / "samples" / f"{type}.json"
        wanted[sample] = as_text({"messages": messages(registry.events[type])})
    own = own_files(store)
    gone: dict[Path, str | None] = dict.fromkeys(forgotten_files(store, own))
    return {
        path: text
        for path, text in {**wanted, **own, **gone}.items()
        if text is None or not path.exists() or path.read_text("utf-8") != text
    }


def write(files: dict[Path, str | None]) -> None:
    """Write them, and remove those that nothing belongs to any more."""
    for path, text in files.items():
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")


def messages(contract: Contract) -> list[dict[str, Any]]:
    """As they come from the broker: with all fields, and with as few as may be."""
    payloads = [sample_of(contract.schema, full=full) for full in (True, False)]
    if payloads[0] == payloads[1]:
        payloads.pop()
    return [_message(contract, each) for each in payloads]


def _message(contract: Contract, payload: Any) -> dict[str, Any]:
    settings = conf.current()
    key = {"strangler-key": f"{contract.key}:1"} if contract.key else {}
    return {
        "fields": {"exchange": settings.exchange, "routingKey": contract.type},
        "properties": {
            "appId": settings.source,
            "contentType": "application/json",
            "deliveryMode": 2,
            "headers": {**contract.headers, **key, "strangler-published-at": _MOMENT},
            "messageId": _ID,
            "timestamp": _SECONDS,
            "type": contract.type,
        },
        "content": payload,
    }
