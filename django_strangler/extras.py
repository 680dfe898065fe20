"""Extras: libraries that only some projects install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around the import of an extra's libraries: who lacks them is told its name."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed. Run: "
            f"pip install 'django-strangler[{name}]'",
            name=error.name,
        ) from error
