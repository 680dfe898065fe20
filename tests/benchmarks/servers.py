"""The servers that a benchmark measures with: found or started as for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.services.databases import Databases
from tests.services.services import Services


@contextmanager
def servers() -> Iterator[tuple[Services, Databases]]:
    """What was started ends with the block."""
    with ExitStack() as stack:
        services = Services()
        stack.callback(services.close)
        databases = Databases(services)
        stack.callback(databases.close)
        yield services, databases
