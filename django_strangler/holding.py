"""
Holding: a hold that is kept in a row, and ends by itself when its holder dies.

The table has the columns ``token``, ``name``, ``length``, ``started_at`` and
``expires_at``; what is held, refers to the token. Times are the database's, and whether
the hold is valid is asked of this process's own clock.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db.models import Model, Q, QuerySet

from django_strangler.clock import DatabaseNow, since_boot

FORGET_AFTER = 86400.0
GRACE = 0.25  # A renewal may be committing while another process looks.

M = TypeVar("M", bound=Model)


def process_name() -> str:
    """This process, for people: its host and its number."""
    return f"{socket.gethostname()}:{os.getpid()}"[:255]


class Hold:
    """One process's hold. Driven by its owner's loop; it has no thread of its own."""

    def __init__(
        self,
        rows: Callable[[], QuerySet[M]],
        *,
        length: float,
        values: Mapping[str, Any] | None = None,  # Of further columns.
        monotonic: Callable[[], float] = since_boot,
    ) -> None:
        self.length = length
        self.name = process_name()
        self.token: UUID = uuid4()
        self._rows = rows
        self._values = values or {}
        self._monotonic = monotonic
        self._joined = False
        self._asked = float("-inf")

    @property
    def is_valid(self) -> bool:
        """
        Whether the hold still holds.

        Counted from when the last renewal was asked for: however long the answer took,
        the database cannot have counted from an earlier moment.
        """
        return self._joined and self._monotonic() < self.valid_until

    @property
    def valid_until(self) -> float:
        """Until when it holds if it is not renewed, on the monotonic clock."""
        return self._asked + self.length

    @property
    def renew_at(self) -> float:
        """When it should be renewed, on the monotonic clock."""
        return self._asked + self.length / 3 if self._joined else float("-inf")

    def keep(self) -> bool:
        """Join or renew if it is time to; says whether it is still the same hold."""
        if self._joined and self._monotonic() >= self.valid_until:
            self.lapse()
        if self._joined:
            if self._monotonic() < self.renew_at or self.renew():
                return True
            self.lapse()
        self.join()
        return False

    def join(self) -> None:
        """
        Enter a new row.

        A token is never used again, or an old opinion of ours could come true. Nor does
        another process have to wait for the end of a hold that we gave up ourselves.
        """
        before, self.token = self.token, uuid4()
        self._rows().filter(
            Q(token=before) | Q(expires_at__lt=DatabaseNow(-FORGET_AFTER))
        ).delete()
        asked = self._monotonic()
        self._rows().create(
            token=self.token,
            name=self.name,
            length=self.length,
            started_at=DatabaseNow(),
            expires_at=DatabaseNow(self.length),
            **self._values,
        )
        self._asked, self._joined = asked, True

    def renew(self) -> bool:
        """
        Extend it; says whether that was still possible.

        A hold that has run out is not revived: another process may have taken over. Nor
        is one that ends later than it can: the database's clock was set back.
        """
        asked = self._monotonic()
        renewed = (
            self._rows()
            .filter(
                token=self.token,
                expires_at__gt=DatabaseNow(),
                expires_at__lte=DatabaseNow(self.length),
            )
            .update(expires_at=DatabaseNow(self.length))
        )
        if renewed:
            self._asked = asked
        return bool(renewed)

    def leave(self) -> None:
        """Give it back at once."""
        if self._joined:
            self._rows().filter(token=self.token).delete()
        self.lapse()

    def lapse(self) -> None:
        """Regard it as lost, without asking the database."""
        self._joined, self._asked = False, float("-inf")
