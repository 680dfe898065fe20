"""What a project declares: a model whose changes others keep a copy of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models

from django_strangler import conf, extending
from django_strangler.events import Event
from django_strangler.outbox.encoding import encode
from django_strangler.outbox.rules import check_type

from .declaring import NAME, declared
from .exceptions import InvalidMove


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One model's rows as events: what they hold, and where the model lives."""

    name: str
    model: str
    type: str
    fields: Mapping[str, str]  # By field of the model: what events call it.
    source: str
    contract: extending.Contract | None = None

    @property
    def label(self) -> str:
        """What marks call its table, and how its events' keys begin."""
        return self.model.lower()

    def events(
        self, id: object, position: int, row: Mapping[str, object] | None
    ) -> list[Event]:
        """How the row with this id is now; None: there is none."""
        named = None if row is None else {n: row[f] for f, n in self.fields.items()}
        payload = {"id": id, "position": position, "row": named}
        key = f"{self.label}:{id}"
        if self.contract is None:
            return [Event(type=self.type, payload=payload, key=key)]
        body = encode(payload, limit=conf.current().max_payload_bytes)
        given = Event(
            type=self.type, payload=json.loads(body), headers=self.contract.headers
        )
        value = self.contract.read(given).data
        return [
            Event(type=each.type, payload=made, key=key, headers=each.headers)
            for each, made in self.contract.rows(value)
        ]


captures: dict[str, Capture] = {}


def capture(
    model: str,
    type: Any,
    *,
    fields: Sequence[str] | Mapping[str, str],
    name: str = "",
    source: str = "default",
) -> Capture:
    """
    Publish each row's state whenever it changes, also by raw SQL; see ``replica``.

    ``type`` is a type of event, or a class that ``contracts.event`` has decorated. Its
    payload is ``id``, ``position`` and ``row``, which has the fields; it is None when
    the row is gone. A greater position is a later state. Call it in an app's
    ``moves.py``.
    """
    is_class = not isinstance(type, str)
    contract = extending.contract_of(type) if is_class else None
    made = Capture(
        name=name or model.lower().replace(".", "-"),
        model=model,
        type=check_type(contract.type if contract is not None else type),
        fields=dict(fields) if isinstance(fields, Mapping) else {f: f for f in fields},
        source=source,
        contract=contract,
    )
    if not NAME.fullmatch(made.name) or model.count(".") != 1:
        raise InvalidMove(
            f"The capture {made.name!r:.80} of {model!r:.80} is not valid. Name the "
            'model as "users.User", and give name= up to 40 lower-case letters, '
            "digits, - and _."
        )
    known = captures.get(made.name)
    if known is not None and (known.model, known.type) != (made.model, made.type):
        raise InvalidMove(
            f"There is a capture {made.name!r} already. Give one another name=."
        )
    captures[made.name] = made
    return made


def model_of(capture: Capture) -> type[models.Model]:
    """The model that has the table; a proxy has none of its own."""
    model = apps.get_model(capture.model)
    return model._meta.concrete_model or model


def find_capture(name: str) -> Capture:
    """The capture of that name."""
    return declared(captures, "capture", name)
