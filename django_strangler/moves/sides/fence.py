"""The fence: a mover's transactions past it, the gate, and who has the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction

from django_strangler.moves.exceptions import Fenced

from .session import GATE, SIDE, Session

IDLE = 3  # Seconds: a mover that is stopped inside a transaction must not hold locks.
PATIENCE = 5  # Seconds for a lock that other movers hold.


class Fence(Session, ABC):
    """Whether writers may write here, and movers."""

    # Transactions of a mover

    @contextmanager
    def writing(self, epoch: int | None = None) -> Iterator[None]:
        """
        A transaction past the fence, in which nobody else moves rows to here.

        With an epoch: if that is over, it raises ``Fenced`` and nothing is written.
        """
        self._before(snapshot=False)
        try:
            with transaction.atomic(using=self.alias, durable=True):
                self._begin()
                if epoch is not None:
                    self._lock(epoch)
                yield
                self._end()
        finally:
            self._after()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A transaction in which all reads see the same state, that of the first."""
        self._before(snapshot=True)
        try:
            with transaction.atomic(using=self.alias, durable=True):
                self._begin_snapshot()
                yield
        finally:
            self._after()

    def _before(self, *, snapshot: bool) -> None:
        """What comes before BEGIN; not every kind needs it."""

    @abstractmethod
    def _begin(self) -> None:
        """Let this transaction pass the fence, and end if its process is stopped."""

    def _begin_snapshot(self) -> None:
        """What comes right after BEGIN."""

    def _end(self) -> None:
        """Before COMMIT: what else would be committed."""

    def _after(self) -> None:
        """What a rollback leaves."""

    def _lock(self, epoch: int) -> None:
        found = self.locked()
        if found is None or found[0] != epoch:
            raise Fenced(
                f"The side {self.alias!r} of the move {self.move!r} is another than "
                "it was: it has been opened, or the move has ended. Nothing is lost."
            )

    def advance(self, epoch: int) -> None:
        """Let it be that epoch, which is locked."""
        self.run(f"UPDATE {SIDE} SET epoch = %s WHERE move = %s", [epoch, self.move])

    def locked(self) -> tuple[int, int] | None:
        """Epoch and when it was opened, for this transaction alone."""
        return self.standing(" FOR UPDATE")

    # Gate and side

    def standing(self, end: str = "") -> tuple[int, int] | None:
        """Epoch and when it was opened; None before the move has begun."""
        rows = self.fetch(
            f"SELECT epoch, opened FROM {SIDE} WHERE move = %s{end}", [self.move]
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    def is_closed(self) -> bool:
        """Whether writers are refused, without a lock."""
        rows = self.fetch(f"SELECT closed FROM {GATE} WHERE move = %s", [self.move])
        return bool(rows[0][0]) if rows else True

    @abstractmethod
    def enter(self) -> bool:
        """
        Keep this side as it is until the transaction ends; says whether it is open.

        What each writing statement's trigger does as well.
        """

    def close(self, timeout: float) -> int:
        """
        Wait for those who write, and let nobody begin; ``Busy`` if it takes longer.

        Without a timeout it is now or not, and nobody queues behind it. Returns the
        token to reopen with; closing again takes it from others.
        """
        with self.busy(), transaction.atomic(using=self.alias, durable=True):
            self._exclude(timeout)
            self._set_gate(True)
            self._turn()
            found = self.standing()
        if found is None:
            raise Fenced(f"The move {self.move!r} has ended.")
        return found[0]

    @abstractmethod
    def _exclude(self, timeout: float) -> None:
        """Take the lock that writers share."""

    def reopen(self, token: int) -> None:
        """Take a closing back, unless another switch has closed it since."""
        with self.writing(token):
            self._set_gate(False)

    def open(self, epoch: int, *, over: int) -> None:
        """Become the side that has the truth: newer than ``over``."""
        with self.writing(epoch):
            self._turn(", opened = %s", over + 1)
            self._set_gate(False)

    def revoke(self, *, over: int) -> None:
        """Let nobody open it who thinks of doing so now."""
        with self.writing():
            found = self.locked()
            if found is None or found[1] > over:
                raise Fenced(f"The side {self.alias!r} has been opened meanwhile.")
            self._turn()

    def _turn(self, also: str = "", *values: int) -> None:
        """A new epoch: nobody goes on who has read the one before."""
        sql = f"UPDATE {SIDE} SET epoch = epoch + 1{also} WHERE move = %s"
        self.run(sql, [*values, self.move])

    def _set_gate(self, closed: bool) -> None:
        self.run(f"UPDATE {GATE} SET closed = %s WHERE move = %s", [closed, self.move])
