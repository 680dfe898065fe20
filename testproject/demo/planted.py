"""Bugs that are put in and taken out while it runs, for all processes of the demo."""

import os
from pathlib import Path


class Planted:
    """True while it is in: there is a file of that name."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _file(self) -> Path:
        return Path(os.environ["DEMO_MAILS"]).parent / self._name

    def __bool__(self) -> bool:
        return self._file.exists()

    def put_in(self) -> None:
        self._file.touch()

    def take_out(self) -> None:
        self._file.unlink(missing_ok=True)
