"""promtool, which checks alert rules; Debian has it in the package prometheus."""

from __future__ import annotations

from collections.abc import Callable

from . import sources
from .base import Unavailable
from .instances import program


def find(announce: Callable[[str], None]) -> str:
    """Where it is; installed first where that is allowed. Nothing is started."""
    try:
        return program("promtool")
    except Unavailable as error:
        try:
            sources.install_packages("promtool", ["prometheus"], announce)
        except Unavailable as why:
            raise Unavailable(f"{error}; {why}") from why
    return program("promtool")
