"""Every model of the app, where Django looks for them."""

from __future__ import annotations

from django_strangler.evidence.models import EvidenceCount
from django_strangler.feature_flags.models import (
    Flag,
    FlagChange,
    FlagVersion,
    Guard,
    Incident,
)
from django_strangler.inbox.models import ConsumerProcess, InboxEntry
from django_strangler.outbox.models import (
    HeldType,
    IdempotencyKey,
    Lane,
    OutboxEvent,
    Pause,
    RelayProcess,
)

__all__ = [
    "ConsumerProcess",
    "EvidenceCount",
    "Flag",
    "FlagChange",
    "FlagVersion",
    "Guard",
    "HeldType",
    "IdempotencyKey",
    "InboxEntry",
    "Incident",
    "Lane",
    "OutboxEvent",
    "Pause",
    "RelayProcess",
]
