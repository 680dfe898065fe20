"""Log lines: fields for machines, no payloads, no floods, and silence when idle."""

from __future__ import annotations

import json
import logging
import re
import threading
from pathlib import Path

import pytest

import django_strangler
from django_strangler.announcing import Limits
from django_strangler.brokers import Kind
from django_strangler.exceptions import StranglerError
from django_strangler.inbox.subscribers import Subscriber
from django_strangler.logs import fields
from tests.inbox.conftest import registry
from tests.relay.conftest import far
from tests.relay.factories import make_relay, publish

__all__ = ["far", "registry"]

MOST = Limits().most
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PACKAGE = Path(django_strangler.__file__).parent
REFERENCE = PACKAGE.parent / "docs" / "reference"


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [it for it in caplog.records if it.name.startswith("django_strangler")]


def test_an_event_s_fields_hold_its_trace_and_not_its_payload():
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "note": "secret"}

    found = fields("id", "payment.completed", headers, lane=7)

    assert found == {
        "event_id": "id",
        "event_type": "payment.completed",
        "trace_id": TRACE,
        "lane": 7,
    }
    assert fields("id", "a", {"traceparent": 5})["trace_id"] == ""


def test_no_field_holds_what_a_publisher_could_forge_lines_with():
    forged = "x\x1b[2J\n2026-01-01 ERROR all is lost" + "y" * 10_000

    found = fields(forged, forged, {"traceparent": f"00-{forged}-01-01"})

    assert found["trace_id"] == ""
    assert all(str(value).isprintable() for value in found.values())
    assert all(len(str(value)) < 400 for value in found.values())
    assert fields("", "", {"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-more"}) == {
        "event_id": "",
        "event_type": "",
        "trace_id": TRACE,
    }


def test_parked_events_are_one_line_with_fields_and_no_payload(sqlite_db, far, caplog):
    publish(sqlite_db, "card-4111", payload={"iban": "DE02"}, type="user.created")
    far.bind("payments", "payment.*")
    relay = make_relay(sqlite_db, far)

    relay.drain()

    (record,) = [it for it in ours(caplog) if "Parked" in it.message]
    assert record.name == "django_strangler.outbox.relay"
    assert record.event_type == "user.created"
    assert re.fullmatch(r"[0-9a-f-]{36}", record.event_id)
    assert 0 <= record.lane < 32
    assert record.relay == relay.leases.name
    assert record.trace_id == ""
    assert "DE02" not in json.dumps(record.__dict__, default=str)
    assert "card-4111" not in json.dumps(record.__dict__, default=str)


def test_a_thousand_parkings_are_a_few_lines(sqlite_db, far, caplog):
    far.bind("payments", "payment.*")
    rows = publish(sqlite_db, *[""] * 1000, type="user.created")
    relay = make_relay(sqlite_db, far, batch_size=10, window=20)

    assert relay.drain().parked == len(rows)

    assert len([it for it in ours(caplog) if "Parked" in it.message]) == MOST


def test_a_subscriber_that_fails_ever_again_is_a_few_lines(
    sqlite_db, registry, caplog, monkeypatch
):
    from django_strangler.inbox import local
    from tests.brokers.factories import outgoing

    def fail(event: object) -> None:
        raise StranglerError("no")

    monkeypatch.setattr(local, "inbox_alias", lambda: sqlite_db)
    monkeypatch.setattr(
        "django_strangler.inbox.handling.inbox_alias", lambda: sqlite_db
    )
    registry.add(Subscriber(name="mails", patterns=("#",), flag=None, handler=fail))
    broker = local.LocalBroker(("local://",), django_strangler.conf.Settings())
    broker.open()
    broker.send([outgoing(row) for row in range(1, 50)])
    outcomes = broker.outcomes(5)
    broker.close()

    assert {it.kind for it in outcomes} == {Kind.REJECTED}
    lines = [it for it in ours(caplog) if "mails" in it.message]
    assert len(lines) == MOST
    assert lines[0].event_id
    assert lines[0].event_type


def test_an_idle_relay_says_nothing(sqlite_db, far, caplog):
    caplog.set_level(logging.DEBUG, "django_strangler")
    stop = threading.Event()
    turns = []
    # By the relay's own clock, each turn takes a fifth of a second: so it renews its
    # lease, and looks at its lanes, some times.
    relay = make_relay(
        sqlite_db,
        far,
        stop=stop,
        poll_interval=0.01,
        monotonic=lambda: 1000.0 + len(turns) / 5,
    )
    relay.on_progress = lambda totals: (
        turns.append(1) or (stop.set() if len(turns) > 40 else None)
    )

    relay.run()

    said = [it.message for it in ours(caplog)]
    assert len(turns) > 40
    assert [line.partition(" drains ")[2] for line in said] == ["32 of 32 lanes"]


def test_the_reference_lists_every_logger():
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    used = set(re.findall(r'getLogger\("(django_strangler[\w.]*)"\)', code))
    page = (REFERENCE / "logs.md").read_text()

    assert set(re.findall(r"(?m)^\| `(django_strangler[\w.]*)`", page)) == used


def test_no_line_is_made_without_a_logger_of_its_part():
    for path in PACKAGE.rglob("*.py"):
        assert "logging.warning(" not in path.read_text()
        assert "getLogger(__name__)" not in path.read_text()
