"""The short form of ``python -m tests.facade.faults``."""

from __future__ import annotations

import pytest

from tests.services.databases import database_url

from .faults import run

pytestmark = pytest.mark.slow


def test_nothing_is_done_twice_whatever_happens_to_the_service(
    tmp_path, make_db, monkeypatch
):
    monkeypatch.setenv("DATABASE_URL", database_url(make_db("sqlite")))

    outcome = run(requests=3_000, faults=10, seed=1, folder=tmp_path)

    assert outcome.is_good, outcome
    assert outcome.answers["by modern"]
    assert outcome.answers["by legacy"]
