"""What is kept over the end of a connection, and what must not be: without RabbitMQ."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pika
import pytest

from django_strangler.brokers import Kind, Outcome
from django_strangler.brokers.rabbitmq import dead_letters, explain
from django_strangler.brokers.rabbitmq.copy_channel import Copies, Copy
from django_strangler.brokers.rabbitmq.link import Loss
from django_strangler.brokers.rabbitmq.management import bindings
from django_strangler.brokers.rabbitmq.probes import Probe, Probes
from django_strangler.brokers.rabbitmq.urls import parse_nodes
from django_strangler.conf import Settings
from django_strangler.exceptions import BrokerError
from tests.brokers.failures.common import events

NODES = parse_nodes(["amqp://127.0.0.1"])


class FarChannel:
    """A channel that opens as soon as the test says so."""

    is_open = True

    def __init__(self, opened: Callable[[Any], None]) -> None:
        self.opened = opened

    def confirm_delivery(self, confirmed: Any, callback: Any) -> None:
        self.confirmed, self.selected = confirmed, callback

    def ignore(self, *told: Any) -> None:
        pass

    close = add_on_close_callback = add_on_return_callback = ignore


class FarConnection:
    """A connection that says goodbye, and waits for the answer."""

    is_open, is_closed, is_closing = True, False, False

    def __init__(self) -> None:
        self.channels: list[FarChannel] = []

    def channel(self, on_open_callback: Callable[[Any], None]) -> FarChannel:
        self.channels.append(FarChannel(on_open_callback))
        return self.channels[-1]

    def ignore(self, *told: Any) -> None:
        pass

    add_on_connection_blocked_callback = add_on_connection_unblocked_callback = ignore

    def close(self) -> None:
        self.is_open, self.is_closing = False, True


class FarLoop:
    """A loop in the hands of the test: nothing happens by itself."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.is_away = is_away
        self.links: list[Any] = []
        self.timers: list[Callable[[], object]] = []
        self.connections: list[FarConnection] = []

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.timers.append(callback)

    def connect(self, parameters: Any, opened: Any, ended: Any) -> FarConnection:
        if self.is_away:
            raise OSError("away")
        self.connections.append(FarConnection())
        return self.connections[-1]

    def turn(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()

    def open_last(self) -> FarChannel:
        """The last connection, and a channel over it."""
        self.links[0]._opened(self.connections[-1])
        (channel,) = self.connections[-1].channels
        channel.opened(channel)
        channel.selected(None)
        return channel


def copy_of(tag: int) -> Copy:
    properties = pika.BasicProperties(message_id=str(tag))
    return Copy(1, tag, "bank.copies", "bank.dead", properties, b"{}")


@pytest.fixture
def published(monkeypatch) -> list[tuple[Any, str]]:
    """Over which channel each message was sent."""
    found: list[tuple[Any, str]] = []
    monkeypatch.setattr(
        pika.channel.Channel,
        "basic_publish",
        lambda channel, _exchange, _key, _body, properties, **_: found.append(
            (channel, properties.message_id)
        ),
    )
    return found


def make_copies(loop: FarLoop, failed: list[str]) -> Copies:
    return Copies(
        loop,  # type: ignore[arg-type]
        NODES,
        sent=lambda copy: None,
        failed=failed.append,
        stalled=lambda why: None,
    )


def test_what_a_former_session_has_sent_is_not_sent_again(published):
    loop, failed = FarLoop(), list[str]()
    copies = make_copies(loop, failed)
    copies.send(copy_of(1))
    channel = loop.open_last()

    copies.forget()
    nack = pika.spec.Basic.Nack(delivery_tag=1)
    channel.confirmed(SimpleNamespace(method=nack))
    loop.turn()
    copies.send(copy_of(2))
    loop.open_last()

    assert [id for _, id in published] == ["1", "2"]
    assert not failed


def test_a_copy_waits_for_the_channel_of_its_own_session(published):
    loop, failed = FarLoop(), list[str]()
    copies = make_copies(loop, failed)
    copies.send(copy_of(1))
    loop.open_last()
    [(first, _)] = published

    copies.forget()  # The session has ended, and RabbitMQ has not said goodbye yet.
    copies.send(copy_of(2))
    assert len(published) == 1

    loop.open_last()
    [_, (second, id)] = published
    assert second is not first
    assert id == "2"
    assert not failed


def test_a_probe_ends_although_its_link_was_lost_while_it_was_blocked():
    (event,) = events(1, 1)
    loop, ended = FarLoop(is_away=True), list[Outcome]()
    probes = Probes(loop, NODES, lambda *_: None)  # type: ignore[arg-type, return-value]
    probes._block(True)
    probes._down(Loss("it is away", ""))

    probes.send(Probe([event], lambda _event, outcome, _refusal: ended.append(outcome)))
    loop.turn()

    [outcome] = ended
    assert outcome.kind is Kind.UNKNOWN


def test_only_what_pika_says_on_our_threads_is_quiet():
    quiet = threading.Thread(target=explain.quieten_pika)
    quiet.start()
    quiet.join()
    error = pika.exceptions.AMQPConnectionError("refused")
    record = logging.LogRecord(
        "pika", logging.ERROR, "", 1, "It failed.", (), (type(error), error, None)
    )
    record.thread = quiet.ident  # Which a thread of the project may have by now.
    heard = []

    def listen() -> None:
        heard.append(explain._filter.filter(record))
        explain.quieten_pika()
        heard.append(explain._filter.filter(record))

    another = threading.Thread(target=listen)
    another.start()
    another.join()

    assert heard == [True, False]


def test_a_place_of_the_management_api_that_is_no_url_is_not_repeated():
    for url in ("amqp://relay:S3cret@rabbit-1", "http://relay:S3/cret@rabbit-1"):
        with pytest.raises(BrokerError, match="is not a URL") as raised:
            bindings(NODES[0], url, "events")

        assert "cret" not in str(raised.value)
        assert raised.value.__cause__ is None


def test_what_was_lost_while_dead_letters_are_counted_is_what_is_told(monkeypatch):
    class Lost:
        def channel(self) -> None:
            raise pika.exceptions.StreamLostError("reset by peer")

        def close(self) -> None:
            raise pika.exceptions.ConnectionWrongStateError("closed already")

    monkeypatch.setattr(dead_letters, "_connect", lambda urls: Lost())

    with pytest.raises(BrokerError, match="reset by peer"):
        dead_letters.RabbitMQDeadLetters.counts([], Settings(), ["receipts"])
