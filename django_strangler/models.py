"""Every model of the app, where Django looks for them."""

from __future__ import annotations

from django_strangler.evidence.models import EvidenceCount as EvidenceCount
from django_strangler.feature_flags.models import Flag as Flag
from django_strangler.feature_flags.models import FlagChange as FlagChange
from django_strangler.feature_flags.models import FlagVersion as FlagVersion
from django_strangler.feature_flags.models import Guard as Guard
from django_strangler.feature_flags.models import Incident as Incident
from django_strangler.inbox.models import ConsumerProcess as ConsumerProcess
from django_strangler.inbox.models import InboxEntry as InboxEntry
from django_strangler.outbox.models import HeldType as HeldType
from django_strangler.outbox.models import IdempotencyKey as IdempotencyKey
from django_strangler.outbox.models import Lane as Lane
from django_strangler.outbox.models import OutboxEvent as OutboxEvent
from django_strangler.outbox.models import Pause as Pause
from django_strangler.outbox.models import RelayProcess as RelayProcess
