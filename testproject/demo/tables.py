"""The payments' tables move to a database of their own, while everybody pays."""

import io
import re
import threading
from typing import Any

from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from payments.moves import HOME

from django_strangler.exceptions import StranglerError
from django_strangler.moves.declaring import find
from django_strangler.moves.status import NOT_BEGUN, Status, status

from .relay import Worker

MOVE = "payments"
PAUSE = 0.5  # Seconds until a switch that was refused is tried again,
TRIES = 120  # and how often.
SIDES = {"default": "the monolith's database", HOME: "a database of their own"}


class Tables:
    """What a person types, behind buttons: start and switch, back, finish."""

    def __init__(self, mover: Worker) -> None:
        self._mover = mover
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self.said = ""  # By the last switch, or why it did not happen.

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def go(self, goal: str) -> None:
        """To the modern or the legacy side; it takes a moment, and goes on behind."""
        with self._lock:
            if self.is_busy:
                return
            self.said = ""
            self._thread = threading.Thread(
                target=self._go, args=(goal,), daemon=True, name="demo-tables"
            )
            self._thread.start()

    def finish(self) -> None:
        """Nobody wants to go back."""
        if not self.is_busy and (said := self._typed("finish")) is not None:
            self.said = said
            self._mover.stop()  # Until then somebody may want to go back.

    def close(self) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(60)
        self._mover.stop()

    def wait(self, seconds: float) -> bool:
        """Until what was asked for is done; whether it is."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.is_busy

    def _go(self, goal: str) -> None:
        try:
            if status(find(MOVE)).stage == NOT_BEGUN and self._typed("start") is None:
                return
            self._mover.start()
            for _ in range(TRIES):
                # Refused at first: not every process knows that it has begun.
                is_copied = status(find(MOVE)).stage.startswith("following")
                if is_copied and self._typed("verify") is not None:
                    said = self._typed("switch", "--to", goal)
                    if said is not None:
                        waited = re.search(r"writers waited for\s+(\S+ \w+)", said)
                        self.said = f"Writers waited for {waited[1]}." if waited else ""
                        return
                if self._is_over.wait(PAUSE):
                    return
        finally:
            connections.close_all()

    def _typed(self, verb: str, *options: str) -> str | None:
        """What the command says; None if it refuses, and then that is what was said."""
        out = io.StringIO()
        try:
            call_command(
                "strangler_moves", verb, MOVE, *options, stdout=out, stderr=out
            )
        except (CommandError, StranglerError, DatabaseError) as error:
            self.said = str(error)
            return None
        return out.getvalue()


def shown(tables: Tables) -> dict[str, Any]:
    """Where they are, and what there is to do."""
    now = status(find(MOVE))
    home = HOME if now.primary == "modern" else "default"
    return {
        "home": home == HOME,
        "busy": tables.is_busy,
        "finished": now.stage == "finished",
        "says": f"The payments live in {SIDES[home]}. {_says(now, tables)}".strip(),
    }


def _says(now: Status, tables: Tables) -> str:
    if now.stage == "finished":
        return "There is no way back any more."
    if tables.is_busy:
        return f"The move: {now.stage}, {now.copied} of {now.of} rows copied."
    if now.stage == NOT_BEGUN:
        return ""
    follows = "What is written there, is followed on the other side, for the way back."
    return f"{tables.said} {follows}" if now.primary == "modern" else tables.said
