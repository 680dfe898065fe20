"""The README alone: from startproject to something to see, and in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import django_strangler

from .session import Session

ROOT = Path(__file__).parents[2]
SECONDS = 300.0

pytestmark = pytest.mark.slow


def test_five_minutes_end_in_something_to_see(tmp_path):
    session = Session(
        tmp_path, {"PYTHONPATH": str(Path(django_strangler.__file__).parents[1])}
    )
    began = time.monotonic()
    try:
        session.follow(ROOT / "README.md", section="## The first five minutes")
        took = time.monotonic() - began
        (relay,) = session.terminals.values()
        assert relay.process.poll() is None
    finally:
        session.close()

    assert (tmp_path / "shop" / "manage.py").exists()
    assert took < SECONDS
