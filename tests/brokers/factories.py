"""Events on their way out, for tests."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from django_strangler.brokers import Outgoing


def outgoing(row: int, type: str = "payment.completed", **fields: Any) -> Outgoing:
    """A committed event; its id tells its row."""
    given: dict[str, Any] = {
        "id": str(UUID(int=row)),
        "key": "",
        "body": f'{{"paymentId": {row}}}',
        "headers": {},
        "correlation_id": "",
        "published_at": datetime(2025, 3, 1, 12, 30, 15, 250, tzinfo=timezone.utc),
        "attempts": 0,
        **fields,
    }
    return Outgoing(row=row, type=type, size=len(given["body"].encode()), **given)
