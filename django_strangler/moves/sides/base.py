"""What all sides do alike; what differs is a method of their own."""

from __future__ import annotations

from typing import ClassVar

from django.db import transaction

from .catalogue import Catalogue
from .contents import Contents
from .fence import Fence
from .marks import Marks
from .session import GATE, SIDE


class DatabaseSide(Fence, Marks, Catalogue, Contents):
    """One database of a move."""

    kind: ClassVar[str]

    def establish(self, *, closed: bool, opened: int) -> None:
        """
        Write gate and side down, before there are triggers.

        Of an earlier move of that name the counts go on: who remembers it is fenced.
        """
        with transaction.atomic(using=self.alias, durable=True):
            if self.locked() is None:
                self.run(
                    f"INSERT INTO {SIDE} (move, epoch, opened) VALUES (%s, 1, %s)",
                    [self.move, opened],
                )
                self.run(
                    f"INSERT INTO {GATE} (move, closed, mover) VALUES (%s, %s, %s)",
                    [self.move, closed, False],
                )
            else:
                self._turn(", opened = %s", opened)
                self._set_gate(closed)
            self.forget_marks()
