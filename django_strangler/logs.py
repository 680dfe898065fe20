"""What log lines share: fields for machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .printable import printable

_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_LONGEST = 255  # Characters of an id or a type.


def fields(
    id: object, type: object, headers: Mapping[Any, Any], **more: object
) -> dict[str, object]:
    """An event as ``extra`` of a log line: nothing that is in its payload."""
    # Whoever publishes chooses all three, and a plain-text log may show them.
    trace = _TRACE.fullmatch(str(headers.get("traceparent") or ""))
    event = {
        "event_id": printable(id, most=_LONGEST),
        "event_type": printable(type, most=_LONGEST),
        "trace_id": trace[1] if trace else "",
    }
    return {**event, **more}
