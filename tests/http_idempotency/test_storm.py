"""Each key's effect once, each answer the first one's, whatever is killed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from .storm import storm

REPEATABLE_READ: dict[str, dict[str, Any]] = {
    "postgresql": {"options": "-c default_transaction_isolation=repeatable\\ read"},
    "mariadb": {"isolation_level": "repeatable read"},
    "sqlite": {},
}


# ATOMIC_REQUESTS, and workers with threads or with one request at a time.
WORKERS = {
    "threads": {"atomic_requests": False, "threads": True},
    "sync, atomic": {"atomic_requests": True, "threads": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
@pytest.mark.parametrize("source", REPEATABLE_READ)
def test_a_storm_with_two_kills(make_db, source, workers):
    alias = make_db(source, **REPEATABLE_READ[source])

    verdict = storm(alias, clients=10, keys=60, kills=2, **workers)

    verdict.check(60)


# The whole: STORM_KEYS=2000 make test PYTEST_ARGS=tests/http_idempotency/test_storm.py
KEYS = int(os.environ.get("STORM_KEYS", "200"))
KILLS = max(3, KEYS // 200)


ALL_WORKERS = {
    **WORKERS,
    "threads, atomic": {"atomic_requests": True, "threads": True},
    "sync": {"atomic_requests": False, "threads": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_WORKERS if KEYS > 200 else ["threads, atomic"])
@pytest.mark.parametrize("source", REPEATABLE_READ)
def test_a_storm_of_fifty_clients(make_db, source, name, capsys):
    alias = make_db(source, **REPEATABLE_READ[source])

    verdict = storm(alias, clients=50, keys=KEYS, kills=KILLS, **ALL_WORKERS[name])

    with capsys.disabled():
        print(
            f"\n{source}, {name}: {dict(verdict.statuses)}, {verdict.lost} lost, "
            f"{verdict.seconds:.0f} s"
        )
    verdict.check(KEYS)
    assert verdict.kills == KILLS
