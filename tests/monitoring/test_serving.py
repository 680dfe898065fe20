"""Relays and consumers, as processes, serve metrics and touch their file."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.consumer.conftest import broker
from tests.consumer.processes import consumer
from tests.monitoring.scraping import scrape
from tests.relay.conftest import start_drain
from tests.relay.factories import pending, publish
from tests.relay.processes import environment
from tests.services.ports import free_port
from tests.waiting import TimedOut, wait_for

__all__ = ["broker", "start_drain"]


def test_a_relay_serves_metrics_and_beats(postgresql_db, tmp_path, start_drain):
    port, file = free_port(), tmp_path / "alive"
    publish(postgresql_db, "a", "b")

    drain = start_drain(
        postgresql_db, "--metrics-port", str(port), "--heartbeat-file", str(file)
    )
    wait_for(lambda: not pending(postgresql_db))
    found = scrape(port)

    at = '{database="default"}'
    assert found[f"strangler_up{at}"] == 1
    assert found[f"strangler_live_relays{at}"] == 1
    assert found["strangler_events_confirmed_total"] == 2
    assert found["strangler_broker_connected"] == 1
    assert "process_cpu_seconds_total" in found
    before = file.stat().st_mtime
    wait_for(lambda: file.stat().st_mtime > before)
    drain.pause()
    before = file.stat().st_mtime
    with pytest.raises(TimedOut):
        wait_for(lambda: file.stat().st_mtime > before, 2)
    drain.resume()
    assert drain.terminate() < 20


def test_a_consumer_serves_metrics_and_beats(postgresql_db, broker, tmp_path):
    port, file = free_port(), tmp_path / "alive"
    options = ("--metrics-port", str(port), "--heartbeat-file", str(file))
    with consumer(postgresql_db, broker, *options):
        wait_for(
            lambda: scrape(port)["strangler_broker_connected"] == 1,
            ignoring=(OSError,),
        )
        broker.publish()
        handled = 'strangler_deliveries_total{outcome="handled"}'
        wait_for(lambda: scrape(port).get(handled) == 1)
        found = scrape(port)

        assert any(
            name.startswith("strangler_subscriber_calls_total")
            and 'outcome="handled"' in name
            for name in found
        )
        assert "strangler_events_confirmed_total" not in found
        before = file.stat().st_mtime
        wait_for(lambda: file.stat().st_mtime > before)


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line(sqlite_db, start_drain):
    port = free_port()
    first = start_drain(sqlite_db, "--metrics-port", str(port))
    wait_for(lambda: scrape(port), ignoring=(OSError,))

    second = start_drain(sqlite_db, "--metrics-port", str(port))
    second.process.wait(90)

    assert second.process.returncode == 1
    assert f"127.0.0.1:{port} cannot be opened" in second.output
    assert "Traceback" not in second.output
    assert first.process.poll() is None


def test_without_prometheus_client_everything_else_works(sqlite_db, tmp_path):
    """Blocked in a process of its own: a relay starts, and --metrics-port says why."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import django; django.setup()\n"
        "from django.core.management import call_command, CommandError\n"
        "from django.test import Client\n"
        "call_command('check')\n"
        "call_command('drain_outbox', '--once')\n"
        "client = Client(SERVER_NAME='localhost')\n"
        "assert client.get('/strangler/health/').status_code in (200, 503)\n"
        "try:\n    call_command('drain_outbox', '--metrics-port', '9')\n"
        "except CommandError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(sqlite_db, tmp_path),
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert done.returncode == 0, done.stderr
    assert "pip install 'django-strangler[prometheus]'" in done.stdout
