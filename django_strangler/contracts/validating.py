"""Validating what is published, in tests and with DEBUG; in production nothing is."""

from __future__ import annotations

import sys

from django.conf import settings as django_settings

from django_strangler.events import Event
from django_strangler.exceptions import InvalidEvent, InvalidPayload

from . import conf
from .declare import registry
from .events import VERSION
from .fitting import misfit


def is_wanted() -> bool:
    """Whether this process develops or tests: decided once, when Django starts."""
    is_testing = "pytest" in sys.modules or sys.argv[1:2] == ["test"]
    return is_testing or bool(django_settings.DEBUG)


def validate(event: Event) -> None:
    """Refuse to publish what the type's contract does not hold, typed or not."""
    # What has been published may be older than the contract.
    if event.published_at is not None or not conf.settings().validate:
        return
    registry.discover()
    contract = registry.events.get(event.type)
    if contract is None:
        return
    where = f"{contract.cls.__module__}.{contract.cls.__qualname__}"
    if event.headers.get(VERSION, 1) != contract.version:
        raise InvalidEvent(
            f"{event.type!r} is of version {contract.version}, as {where} declares, "
            f"and readers learn that by the header {VERSION!r}: publish an instance."
        )
    if found := misfit(contract.schema, event.payload, closed=True):
        raise InvalidPayload(
            f"{event.type!r} is not what {where} declares: payload{found.path} "
            f"{found.why}. Correct one of them; then strangler_contracts check."
        )
    contract.check_key(event.key)
