"""What the tests of a project use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .exceptions import MismatchFound
from .trials import raising


@contextmanager
def experiments_raise() -> Iterator[None]:
    """
    Let each difference raise ``MismatchFound``, and candidates run at once.

    For tests: the assertion names the experiment, the place and both values. What
    caught it on its way raises it again at the end of the block.
    """
    found: list[MismatchFound] = []
    token = raising.set(found)
    try:
        yield
    finally:
        raising.reset(token)
    if found:
        raise found[0]
