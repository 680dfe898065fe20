"""local:// keeps what every broker promises."""

from __future__ import annotations

import pytest

from django_strangler import subscribe
from django_strangler.brokers import Kind, make_broker
from django_strangler.conf import Settings
from tests.brokers.contract import BrokerContract, collect, kinds, until_ready
from tests.brokers.factories import outgoing


class LocalFarSide:
    """A queue is a subscriber."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = {}

    def bind(self, queue: str, pattern: str) -> None:
        seen = self._seen.setdefault(queue, [])
        subscribe(pattern, name=queue)(lambda event: seen.append(str(event.id)))

    def received(self, queue: str, count: int) -> list[str]:
        assert len(self._seen[queue]) == count
        return self._seen[queue]


@pytest.mark.django_db
class TestLocal(BrokerContract):
    @pytest.fixture
    def far(self, registry):
        return LocalFarSide()

    @pytest.fixture
    def broker(self, registry, db):
        broker = make_broker(Settings(broker_url=("local://",)))
        broker.open()
        yield broker
        broker.close()

    def test_the_same_event_may_be_sent_again(self, broker, far):
        """Its inbox knows it: it is confirmed again, and handled once."""
        far.bind("mail", "payment.*")
        event = outgoing(1, "payment.completed")
        until_ready(broker)

        for _ in range(2):
            broker.send([event])
            assert kinds(collect(broker, [1])) == {Kind.CONFIRMED}

        assert far.received("mail", 1) == [event.id]
