"""
What a relay tells the rest of the process, one signal per batch.

Receivers get ``events``: a list of ``brokers.base.Outgoing``. A receiver that raises is
logged and does no harm.
"""

from __future__ import annotations

from django.dispatch import Signal

events_confirmed = Signal()  # Also: latencies, a list of seconds from publish to mark.
events_parked = Signal()  # Also: reason.
