"""The whole system, for a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.databases import database_url

from .system import PROCESSES, System, running


@pytest.fixture
def system(make_db, vhost, notifications_service, tmp_path) -> Iterator[System]:
    if vhost.prefix:
        pytest.skip("the service's queue needs a vhost of its own")
    try:
        with running(
            tmp_path,
            alias=make_db("postgresql"),
            service_url=database_url(make_db("postgresql")),
            broker_url=vhost.url,
            service=notifications_service,
        ) as system:
            yield system
    finally:
        for name in PROCESSES:
            output = tmp_path / f"{name}.output"
            print(
                f"--- {name}\n{output.read_text()[-3000:] if output.exists() else ''}"
            )
