"""The tables move to another database, and both sides follow; keys go along."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from payments.models import Payment

from tests.end_to_end.processes import process
from tests.services.databases import database_url
from tests.services.leftovers import ROOT
from tests.waiting import wait_for

from .conftest import Api

pytestmark = pytest.mark.slow


@pytest.fixture
def other(database: str, make_db: Callable[..., str]) -> str:
    """Where the payments move to."""
    return make_db("postgresql")


@pytest.fixture
def moves(database: str, other: str, tmp_path: Path) -> Any:
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT}/testproject",
        "DJANGO_SETTINGS_MODULE": "monolith.settings",
        "DATABASE_URL": database_url(database),
        "PAYMENTS_DATABASE_URL": database_url(other),
    }
    command = [sys.executable, "-m", "django", "strangler_moves"]

    def verb(*words: str) -> bool:
        done = subprocess.run(
            [*command, *words],
            env={**os.environ, **environment},
            capture_output=True,
            timeout=120,
        )
        print(done.stdout.decode(), done.stderr.decode())
        return done.returncode == 0

    assert verb("start", "payments")
    with process([*command, "run"], tmp_path / "mover.log", **environment):
        yield verb


def switched(moves: Callable[..., bool], goal: str) -> bool:
    """Whether both sides were alike, and it has switched; it may be too early."""
    switch = ("switch", "payments", "--to", goal, "--without-relay")
    return moves("verify", "payments") and moves(*switch)


def pay(api: Api, key: str, user: str) -> tuple[int, Any, Any]:
    body = {"user": user, "amount": "12.50", "currency": "EUR", "reference": key}
    return api.call("POST", "/payments/", body, Idempotency_Key=key)


def test_a_retry_after_a_switch_is_a_replay_on_either_side(
    moves, start_monolith, start_service, database, other, people
):
    apis = [
        start_monolith(PAYMENTS_DATABASE_URL=database_url(other)),
        start_service(MOVED_TO_URL=database_url(other)),
    ]
    user, made = people["user"], {}

    for goal, home in (("", database), ("modern", other), ("legacy", database)):
        if goal:
            wait_for(partial(switched, moves, goal), 240)
        for number, api in enumerate(apis):
            key = f"{goal}-{number}"
            status, _, made[key] = pay(api, key, user)
            assert status == 201
            assert Payment.objects.using(home).filter(reference=key).exists()
        for key, first in made.items():
            for api in apis:
                status, headers, again = pay(api, key, user)
                assert (status, again) == (201, first)
                assert headers["Idempotent-Replayed"] == "true"
                assert api.call("GET", f"/payments/{first['id']}/")[0] == 200
