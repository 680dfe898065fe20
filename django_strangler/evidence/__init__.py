"""Evidence: what was seen of the legacy side and of the modern one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

from .noting import legacy, note, retiring

if TYPE_CHECKING:
    from .reading import Seen, seen
    from .writing import flush

__all__ = ["Seen", "flush", "legacy", "note", "retiring", "seen"]

# These need models, and noting must not.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "Seen": ".reading",
            "flush": ".writing",
            "seen": ".reading",
        },
    )[1:]
