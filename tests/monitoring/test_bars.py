"""How soon somebody outside sees that events do not flow any more."""

from __future__ import annotations

import time
from contextlib import closing

import pika
import pytest

from tests.monitoring.scraping import scrape
from tests.relay.conftest import start_drain
from tests.relay.factories import events, pending, publish
from tests.services.ports import free_port
from tests.waiting import wait_for

__all__ = ["start_drain"]

HEALTH = "/strangler/health/"


def test_the_death_of_the_only_relay_is_seen_within_its_lease_and_5_seconds(
    postgresql_db, routed, start_drain, client
):
    routed(postgresql_db)
    lease = 2

    def takes() -> float:
        drain = start_drain(postgresql_db, "--lease", str(lease))
        wait_for(lambda: client.get(HEALTH).status_code == 200)

        drain.kill()
        killed = time.monotonic()
        wait_for(lambda: client.get(HEALTH).status_code == 503)
        return time.monotonic() - killed

    # A machine that stands still meanwhile gets another try.
    assert any(takes() < lease + 5 for _ in range(5))


def test_a_removed_binding_is_seen_within_10_seconds(
    postgresql_db, routed, start_drain, client, vhost
):
    if vhost.prefix:
        pytest.skip("the queue needs a vhost of its own")
    routed(postgresql_db)
    port = free_port()
    with closing(pika.BlockingConnection(pika.URLParameters(vhost.url))) as rabbit:
        channel = rabbit.channel()
        channel.exchange_declare("domain-events", "topic", durable=True)
        channel.queue_declare("payments", durable=True)
        channel.queue_bind("payments", "domain-events", "payment.*")
        publish(postgresql_db, "a")
        start_drain(postgresql_db, "--metrics-port", str(port), BROKER_URL=vhost.url)
        wait_for(lambda: not pending(postgresql_db))
        assert client.get(HEALTH).status_code == 200

        channel.queue_unbind("payments", "domain-events", "payment.*")
        removed = time.monotonic()
        publish(postgresql_db, "a")
        wait_for(lambda: held(scrape(port)))
        # The metrics look every 5 s; twice the bar, on a machine with other work.
        assert time.monotonic() - removed < 20

        # After its grace of 30 s it is parked, and health says so.
        counted = 'strangler_events_parked_total{reason="unroutable"}'
        wait_for(lambda: scrape(port).get(counted) == 1, 120)
        assert time.monotonic() - removed < 30 + 25  # The metrics again, and a margin.
        wait_for(lambda: client.get(HEALTH).status_code == 503)
    *_, row = events(postgresql_db).values()
    assert row.parked_reason == "unroutable"


def held(metrics):
    """The types that are held."""
    return [name for name in metrics if name.startswith("strangler_held_seconds")]
