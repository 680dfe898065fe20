"""The bank hears of each charge, under a key of its own, until it has taken it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from payments import subscribers

from django_strangler.events import Event
from django_strangler.services import ServiceError
from tests.extraction import outside
from tests.extraction.history import lines
from tests.services_client.conftest import nothing_known  # noqa: F401

PAID = {"paymentId": 7, "userId": 1, "amount": "9.90", "currency": "EUR"}
EVENT = Event(type="payment.completed", payload=PAID)


@pytest.fixture
def ledger(tmp_path: Path, settings):
    """What a bank has taken, line by line."""
    path = tmp_path / "ledger"
    outside.Counter.ledger = outside.Ledger(path)
    server = outside.Server(("127.0.0.1", 0), outside.Counter)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    url = f"http://127.0.0.1:{server.server_port}"
    settings.STRANGLER = {**settings.STRANGLER, "SERVICES": {"bank": {"URL": url}}}
    yield path
    server.shutdown()
    server.server_close()
    outside.Counter.ledger.close()


def test_an_event_that_comes_again_is_charged_once(ledger):
    for _ in range(2):
        subscribers.order("/charges", "payment-7", EVENT)

    (line,) = lines(ledger)
    assert (line["kind"], line["key"], line["order"]) == ("charges", "payment-7", PAID)


def test_what_the_bank_has_not_taken_comes_again(ledger):
    subscribers.order("/charges", "payment-7", EVENT)
    other = Event(type="payment.completed", payload={**PAID, "amount": "9.91"})

    with pytest.raises(ServiceError):  # So the consumer tries again, and then says so.
        subscribers.order("/charges", "payment-7", other)
