"""What the relay's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from django_strangler.brokers import memory
from tests.relay.factories import new_exchange
from tests.relay.processes import Drain


@pytest.fixture
def far() -> memory.MemoryExchange:
    """The far side of memory://, of this test only."""
    return new_exchange()


@pytest.fixture
def start_drain(tmp_path: Path) -> Iterator[Callable[..., Drain]]:
    """start_drain(alias, "--lease", "1"): a real process, killed in the end."""
    started: list[Drain] = []

    def start(alias: str, *arguments: str, **environment: str) -> Drain:
        started.append(Drain(alias, tmp_path, arguments, environment))
        return started[-1]

    yield start

    for drain in started:
        drain.end()
