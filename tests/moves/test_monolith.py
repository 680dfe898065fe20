"""The test project's payments move, and nobody who pays notices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.databases import database_url
from tests.services.plugin import needed

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(params=["sqlite", "PostgreSQL"])
def urls(request, databases, tmp_path, django_db_blocker):
    if request.param == "sqlite":
        yield [f"sqlite:///{tmp_path / name}" for name in ("one.db", "other.db")]
        return
    with (
        needed(request.param, request),
        django_db_blocker.unblock(),
        databases.fresh("postgresql") as one,
        databases.fresh("postgresql") as other,
    ):
        yield [database_url(one), database_url(other)]


def test_payments_move_while_everybody_pays(urls):
    done = subprocess.run(
        [sys.executable, "-m", "demo.moving"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
            "DATABASE_URL": urls[0],
            "PAYMENTS_DATABASE_URL": urls[1],
        },
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nobody has noticed.\n")
