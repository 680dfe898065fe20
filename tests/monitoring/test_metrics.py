"""Metrics: the right numbers, few labels, and nothing that costs."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, transaction

from django_strangler import feature_flags, publish_event
from django_strangler.monitoring import heartbeat, metrics, state
from django_strangler.monitoring.metrics import BUCKETS, StranglerCollector, Tally
from tests.consumer.conftest import broker
from tests.consumer.processes import consumer
from tests.monitoring.factories import add, add_consumer, add_relay
from tests.relay.conftest import far, start_drain
from tests.relay.factories import make_relay, pending, publish
from tests.relay.processes import environment
from tests.services.ports import free_port
from tests.waiting import TimedOut, wait_for

__all__ = ["broker", "far", "start_drain"]


def samples(collector: StranglerCollector) -> dict[str, float]:
    """What a scrape shows: values by name and labels."""
    return {
        sample.name
        + "".join(f" {name}={value}" for name, value in sample.labels.items()): (
            sample.value
        )
        for family in collector.collect()
        for sample in family.samples
    }


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as it:
        text = it.read().decode()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {
        name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)
    }


@pytest.fixture
def tally():
    tally = Tally()
    tally.listen()
    yield tally
    tally.ignore()


def test_the_database_s_part_is_what_a_look_sees(db):
    add_relay(db, lanes=30)
    add(db, published=90)
    add(db, parked=5, parked_reason="unroutable")
    add(db, parked=5, parked_reason="unroutable", type="user.created")
    add_consumer(db, queue="receipts")
    add_consumer(db, queue="audit", left=-50)

    found = samples(StranglerCollector([db]))

    at = f" database={db}"
    assert found[f"strangler_up{at}"] == 1
    assert found[f"strangler_pending_events{at}"] == 1
    assert found[f"strangler_oldest_due_seconds{at}"] == pytest.approx(90, abs=5)
    assert found[f"strangler_parked_events{at} reason=unroutable"] == 2
    assert found[f"strangler_live_relays{at}"] == 1
    assert found[f"strangler_held_lanes{at}"] == 30
    assert found[f"strangler_live_consumers{at} queue=receipts"] == 1
    assert found[f"strangler_live_consumers{at} queue=audit"] == 0


@pytest.mark.django_db
def test_scraping_often_looks_seldom(django_assert_num_queries):
    collector = StranglerCollector()
    with django_assert_num_queries(3):
        for _ in range(10):
            list(collector.collect())


@pytest.mark.django_db
def test_a_database_that_is_away_does_not_end_the_scrape(monkeypatch):
    def fail(using: str) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(state, "look", fail)

    found = samples(StranglerCollector())

    assert found["strangler_up database=default"] == 0
    assert "strangler_events_published_total" in found
    assert "strangler_pending_events database=default" not in found


@pytest.mark.django_db
def test_registering_it_costs_no_query(django_assert_num_queries):
    registry = metrics.CollectorRegistry(auto_describe=True)
    with django_assert_num_queries(0):
        registry.register(StranglerCollector())


@pytest.mark.django_db
def test_published_events_are_counted_where_they_are_published():
    name = "strangler_events_published_total"
    before = samples(StranglerCollector())[name]
    with transaction.atomic():
        publish_event("payment.completed", {})
        publish_event("payment.completed", {})

    assert samples(StranglerCollector())[name] == before + 2


@pytest.mark.django_db
def test_flag_decisions_are_counted_by_flag_and_outcome():
    feature_flags.set_rollout("metered", 100)
    feature_flags.is_enabled("metered", 7)

    found = samples(StranglerCollector())

    assert found["strangler_flag_decisions_total flag=metered outcome=on"] == 1


def test_what_relays_do_is_counted(sqlite_db, far, tally):
    publish(sqlite_db, "a", "b", "c")
    publish(sqlite_db, "d", type="audit.seen")
    far.bind("payments", "payment.*")
    relay = make_relay(sqlite_db, far)
    relay.drain()

    found = samples(StranglerCollector((), relays=[relay], tally=tally))

    assert found["strangler_events_confirmed_total"] == 3
    assert found["strangler_events_parked_total reason=unroutable"] == 1
    assert found["strangler_failures_total kind=unknown"] == 0
    assert found["strangler_publish_to_confirm_seconds_count"] == 3
    assert found["strangler_publish_to_confirm_seconds_bucket le=+Inf"] == 3
    assert found["strangler_publish_to_confirm_seconds_bucket le=30.0"] == 3
    assert 0 < found["strangler_publish_to_confirm_seconds_sum"] < 60


def test_the_histogram_goes_by_the_database_s_clock(sqlite_db, far, tally):
    tally.host_ahead = -100.0  # Then the database's time is 100 s more than ours.
    publish(sqlite_db, "a")
    make_relay(sqlite_db, far).drain()

    assert tally.took[BUCKETS.index(300)] == 1


def test_a_broker_is_connected_blocked_or_neither(sqlite_db, far, tally):
    relay = make_relay(sqlite_db, far)
    collector = StranglerCollector((), relays=[relay], tally=tally)

    def seen() -> tuple[float, float]:
        found = samples(collector)
        return (
            found["strangler_broker_connected"],
            found["strangler_broker_blocked"],
        )

    assert seen() == (0, 0)
    relay.broker.open()
    assert seen() == (1, 0)
    far.trouble = "blocked: low on memory"
    assert seen() == (1, 1)
    far.trouble = "connection refused"
    assert seen() == (0, 0)


def test_no_label_holds_what_is_endless(sqlite_db, far, tally):
    collector = StranglerCollector([], relays=[make_relay(sqlite_db, far)], tally=tally)
    labels = {
        label
        for family in collector.collect()
        for sample in family.samples
        for label in sample.labels
    }

    assert labels <= {
        "database",
        "reason",
        "queue",
        "kind",
        "le",
        "flag",
        "outcome",
        "subscriber",
    }


def test_a_relay_serves_metrics_and_beats(postgresql_db, tmp_path, start_drain):
    port, file = free_port(), tmp_path / "alive"
    publish(postgresql_db, "a", "b")

    drain = start_drain(
        postgresql_db, "--metrics-port", str(port), "--heartbeat-file", str(file)
    )
    wait_for(lambda: not pending(postgresql_db), 20)
    found = scrape(port)

    at = '{database="default"}'
    assert found[f"strangler_up{at}"] == 1
    assert found[f"strangler_live_relays{at}"] == 1
    assert found["strangler_events_confirmed_total"] == 2
    assert found["strangler_broker_connected"] == 1
    assert "process_cpu_seconds_total" in found
    before = file.stat().st_mtime
    wait_for(lambda: file.stat().st_mtime > before, 10)

    drain.pause()
    before = file.stat().st_mtime
    with pytest.raises(TimedOut):
        wait_for(lambda: file.stat().st_mtime > before, 2)
    drain.resume()
    assert drain.terminate() < 2.5


def test_a_consumer_serves_metrics_and_beats(postgresql_db, broker, tmp_path):
    port, file = free_port(), tmp_path / "alive"
    options = ("--metrics-port", str(port), "--heartbeat-file", str(file))
    with consumer(postgresql_db, broker, *options):
        wait_for(
            lambda: scrape(port)["strangler_broker_connected"] == 1,
            30,
            ignoring=(OSError,),
        )
        broker.publish()
        handled = 'strangler_deliveries_total{outcome="handled"}'
        wait_for(lambda: scrape(port)[handled] == 1, 20)
        found = scrape(port)

        assert any(
            name.startswith("strangler_subscriber_calls_total")
            and 'outcome="handled"' in name
            for name in found
        )
        assert "strangler_events_confirmed_total" not in found
        before = file.stat().st_mtime
        wait_for(lambda: file.stat().st_mtime > before, 10)


def test_a_port_that_is_taken_is_one_line(sqlite_db, start_drain):
    port = free_port()
    first = start_drain(sqlite_db, "--metrics-port", str(port))
    wait_for(lambda: scrape(port), 20, ignoring=(OSError,))

    second = start_drain(sqlite_db, "--metrics-port", str(port))
    second.process.wait(20)

    assert second.process.returncode == 1
    assert f"The port {port} cannot be had" in second.output
    assert "Traceback" not in second.output
    assert first.process.poll() is None


def test_a_heartbeat_file_that_cannot_be_had_is_one_line():
    with pytest.raises(CommandError, match="The heartbeat file cannot be had: "):
        call_command("drain_outbox", "--heartbeat-file", "/nowhere/alive")


def test_a_heartbeat_is_that_of_the_slowest(tmp_path, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(heartbeat.time, "time", lambda: now[0])
    file = tmp_path / "alive"
    beat = heartbeat.Heartbeat(file, ["default", "other"]).beat

    now[0] += 10
    beat("default")
    assert file.stat().st_mtime == 1_000
    now[0] += 10
    beat("other")
    assert file.stat().st_mtime == 1_010


def test_a_heartbeat_that_cannot_be_written_harms_nobody(tmp_path, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(heartbeat.time, "time", lambda: now[0])
    folder = tmp_path / "run"
    folder.mkdir()
    beat = heartbeat.Heartbeat(folder / "alive", ["default"]).beat
    (folder / "alive").unlink()
    folder.rmdir()

    now[0] += 10
    beat("default")

    assert not folder.exists()


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
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "pip install 'django-strangler[prometheus]'" in done.stdout
