"""Candidates that run in a subscriber: the control's answer travels as an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import router, transaction

from django_strangler.events import Event
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.publishing import publish_event

from .arguments import packed, unpacked
from .plain import plain, text_of
from .registry import Registered, discover, registry
from .running import Seen

TYPE = "migration.experiment"
LARGEST = 100_000  # Characters of the control's answer.


class UnknownExperiment(LookupError):
    """This process has no experiment of that name."""


def send(
    experiment: str,
    names: Iterable[str],
    control: Seen,
    told: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Publish what a subscriber needs, in the caller's transaction."""
    answer, unreadable = control.plain, control.unreadable
    if len(text_of(answer)) > LARGEST:
        answer, unreadable = None, "The control's answer is too large to be sent."
    payload = {
        "experiment": experiment,
        "candidates": list(names),
        "args": packed(list(args)),
        "kwargs": packed(dict(kwargs)),
        "control": {
            "plain": answer,
            "raised": control.raised,
            "message": control.message,
            "unreadable": unreadable,
            "seconds": control.seconds,
        },
        "context": plain(dict(told), nodes=200),
    }
    # A savepoint: should the outbox refuse it, the caller's transaction goes on.
    with transaction.atomic(using=router.db_for_write(OutboxEvent)):
        publish_event(TYPE, payload)


def handle(event: Event) -> None:
    """Run the candidates of such an event."""
    payload: Any = event.payload
    experiment = _found(payload["experiment"])
    control = Seen(
        payload["control"]["seconds"],
        raised=payload["control"]["raised"],
        message=payload["control"]["message"],
        plain=payload["control"]["plain"],
        unreadable=payload["control"]["unreadable"],
    )
    experiment.try_later(
        payload["candidates"],
        control,
        payload["context"],
        unpacked(payload["args"]),
        unpacked(payload["kwargs"]),
    )


def _found(name: str) -> Registered:
    if name not in registry:
        discover()
    if name not in registry:
        raise UnknownExperiment(
            f"There is no experiment {name!r} in this process. Declare it in the "
            "module `experiments` of an app, or import its module there."
        )
    return registry[name]
