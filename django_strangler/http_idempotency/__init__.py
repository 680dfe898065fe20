"""HTTP idempotency keys: what is asked for takes effect once, however often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .decorators import idempotent as idempotent
    from .mixins import IdempotentMixin as IdempotentMixin


# Django imports this package before models may be loaded.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
        __name__,
        {
            "IdempotentMixin": ".mixins",
            "idempotent": ".decorators",
        },
    )
