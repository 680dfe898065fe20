from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_kind(request: pytest.FixtureRequest) -> str:
    """For make_db(), where a test has to do something before the database is there."""
    kind: str = request.param
    return kind
