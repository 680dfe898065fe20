"""A real Celery worker: tasks that overlap, and a connection that stays as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connections

from django_strangler import tasks
from django_strangler.models import RelayProcess
from django_strangler.outbox.relay import Relay
from django_strangler.outbox.settling import Totals
from tests.relay.factories import pending, publish
from tests.relay.processes import ROOT, arrived, environment, out_of_order
from tests.waiting import wait_for


@pytest.mark.slow
def test_overlapping_tasks_are_safe(postgresql_db: str, tmp_path: Path) -> None:
    alias = postgresql_db
    for folder in ("sent", "queue", "done"):
        (tmp_path / folder).mkdir()
    given = environment(
        alias,
        tmp_path,
        DJANGO_SETTINGS_MODULE="tests.relay.celery_settings",
        CELERY_FOLDER=str(tmp_path),
    )
    del given["BROKER_URL"]  # The celery command takes that for its own.
    rows = publish(alias, *[f"k{n % 20}" for n in range(2000)])
    output = (tmp_path / "worker").open("wb")
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "celery",
            "--app",
            "monolith",
            "worker",
            "--pool",
            "prefork",
            "--concurrency",
            "3",
            "--loglevel",
            "INFO",
        ],
        env=given,
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    try:
        _send(given, tmp_path)
        rows += publish(alias, *[f"k{n % 20}" for n in range(2000)])

        def log() -> str:
            return (tmp_path / "worker").read_text()

        wait_for(lambda: log().count("succeeded in") == 13, 120)
        _send(given, tmp_path)
        wait_for(lambda: log().count("succeeded in") == 26, 120)
        wait_for(lambda: not pending(alias))
    finally:
        worker.terminate()
        worker.wait(60)
        output.close()

    lines = arrived(tmp_path)
    assert {line.row for line in lines} == set(rows)
    assert len({line.pid for line in lines}) >= 1
    assert not out_of_order(lines)
    assert not RelayProcess.objects.using(alias).exists()
    assert "Traceback" not in log()


def _send(given: dict[str, str], folder: Path) -> None:
    """Hand a dozen tasks and one more to the worker, each as a whole file."""
    program = (
        "import django; django.setup()\n"
        "import monolith\n"
        "from django_strangler.tasks import drain_outbox, prune_outbox\n"
        "for _ in range(12): drain_outbox.delay()\n"
        "prune_outbox.delay()\n"
    )
    subprocess.run([sys.executable, "-c", program], env=given, cwd=ROOT, check=True)
    for message in sorted((folder / "sent").iterdir()):
        message.rename(folder / "queue" / message.name)


def test_a_task_is_as_impatient_with_its_database_as_a_relay(
    postgresql_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[object] = []

    def drain(relay: Relay) -> Totals:
        used.append(relay.connection.settings_dict["OPTIONS"].get("tcp_user_timeout"))
        return Totals()

    monkeypatch.setattr(Relay, "drain", drain)
    before = connections[postgresql_db].settings_dict

    tasks.drain_outbox(postgresql_db)

    assert used == [10_000]
    assert connections[postgresql_db].settings_dict is before
