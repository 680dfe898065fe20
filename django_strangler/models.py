"""Every model of the app, where Django looks for them."""

from __future__ import annotations

from django_strangler.feature_flags.models import Flag, FlagChange, FlagVersion
from django_strangler.inbox.models import ConsumerProcess, InboxEntry
from django_strangler.outbox.models import Lane, OutboxEvent, RelayProcess

__all__ = [
    "ConsumerProcess",
    "Flag",
    "FlagChange",
    "FlagVersion",
    "InboxEntry",
    "Lane",
    "OutboxEvent",
    "RelayProcess",
]
