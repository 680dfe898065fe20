"""A broker for tests with several processes: appends a line per event to a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from django_strangler.brokers import Broker, Kind, Outcome, Outgoing
from django_strangler.conf import Settings


class FileBroker(Broker):
    """Confirms what it has written; a file ``down`` beside it makes it unready."""

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        super().__init__(urls, settings)
        self._path = Path(os.environ["FILE_BROKER"])
        self._changed = threading.Event()
        self._outcomes: list[Outcome] = []

    def open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def close(self) -> None:
        pass

    @property
    def ready(self) -> bool:
        return not self._path.with_name("down").exists()

    @property
    def trouble(self) -> str:
        return "" if self.ready else "it is down"

    def send(self, events: Sequence[Outgoing], *, probe: bool = False) -> None:
        lines = "".join(f"{os.getpid()} {each.row} {each.key}\n" for each in events)
        # One write of O_APPEND: whole lines, in order, from any number of processes.
        os.write(self._file, lines.encode())
        if not self._path.with_name("mute").exists():
            self._outcomes += [Outcome(each.row, Kind.CONFIRMED) for each in events]

    def outcomes(self, timeout: float) -> list[Outcome]:
        taken, self._outcomes = self._outcomes, []
        if not taken and timeout:
            self._changed.wait(timeout)
        return taken
