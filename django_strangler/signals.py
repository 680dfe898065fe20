"""
What a relay tells the rest of the process, one signal per batch.

Receivers get ``events``: a list of ``brokers.base.Outgoing``. A receiver that raises is
logged and does no harm.
"""

from __future__ import annotations

from django.dispatch import Signal

events_confirmed = Signal()  # The broker has them, and the rows say so.
# Also: reason, error, which a broker may have worded, and relay, its name.
events_parked = Signal()
