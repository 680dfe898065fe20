"""
How fast RabbitMQBroker is, beside pika alone and a confirm for each message.

    python -m tests.benchmarks.bench_broker [--events 50000] [--rounds 3] [--url URL]

All three send the same: properties, headers, persistent, ``mandatory``, bodies of 300
bytes, into a quorum queue, with the same window. They take turns, and medians count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import django
import pika
from django.conf import settings as django_settings

from django_strangler.brokers import Kind, Outgoing, make_broker
from django_strangler.conf import Settings

QUEUE, EXCHANGE = "strangler-bench", "strangler-bench"


def make_events(count: int) -> list[Outgoing]:
    body = '{"note": "' + "x" * 288 + '"}'
    return [
        Outgoing(
            row=row,
            id=str(UUID(int=row)),
            type="payment.completed",
            key=f"payments.payment:{row % 10_000}",
            body=body,
            size=len(body),
            headers={"traceparent": f"00-{row:032x}-{row:016x}-01"},
            correlation_id="",
            published_at=datetime.now(timezone.utc),
            attempts=0,
        )
        for row in range(1, count + 1)
    ]


def properties(event: Outgoing) -> pika.BasicProperties:
    return pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2,
        message_id=event.id,
        type=event.type,
        timestamp=int(event.published_at.timestamp()),
        app_id="monolith",
        headers={
            **event.headers,
            "strangler-key": event.key,
            "strangler-published-at": event.published_at.isoformat(),
        },
    )


def ours(url: str, events: list[Outgoing], window: int) -> float:
    broker = make_broker(Settings(broker_url=(url,), exchange=EXCHANGE))
    broker.open()
    while not broker.ready:
        broker.outcomes(1)
    started, sent, ended = time.perf_counter(), 0, 0
    while ended < len(events):
        room = window - (sent - ended)
        if room >= window // 4:
            broker.send(events[sent : sent + room])
            sent = min(sent + room, len(events))
        outcomes = broker.outcomes(1)
        assert all(outcome.kind is Kind.CONFIRMED for outcome in outcomes)
        ended += len(outcomes)
    seconds = time.perf_counter() - started
    broker.close()
    return len(events) / seconds


def pika_alone(url: str, events: list[Outgoing], window: int) -> float:
    """SelectConnection with asynchronous confirms, as its manual has it."""
    state: dict[str, Any] = {"sent": 0, "started": 0.0, "seconds": 0.0}
    unconfirmed: set[int] = set()
    low = 1

    def fill() -> None:
        channel, sent = state["channel"], state["sent"]
        for event in events[sent : sent + window - len(unconfirmed)]:
            sent += 1
            unconfirmed.add(sent)
            channel.basic_publish(
                EXCHANGE,
                event.type,
                event.body.encode(),
                properties(event),
                mandatory=True,
            )
        state["sent"] = sent

    def confirmed(frame: Any) -> None:
        nonlocal low
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            unconfirmed.difference_update(range(low, tag + 1))
            low = tag + 1
        else:
            unconfirmed.discard(tag)
        if len(unconfirmed) <= window * 3 // 4:
            fill()
        if not unconfirmed and state["sent"] == len(events):
            state["seconds"] = time.perf_counter() - state["started"]
            connection.close()

    def selected(_frame: object) -> None:
        state["started"] = time.perf_counter()
        fill()

    def opened(channel: Any) -> None:
        state["channel"] = channel
        channel.confirm_delivery(confirmed, selected)

    connection = pika.SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda it: it.channel(on_open_callback=opened),
        on_close_callback=lambda it, error: it.ioloop.stop(),
    )
    connection.ioloop.start()
    connection.ioloop.close()
    return len(events) / float(state["seconds"])


def confirm_each(url: str, events: list[Outgoing], window: int) -> float:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    some = events[: max(len(events) // 20, 500)]
    started = time.perf_counter()
    for event in some:
        channel.basic_publish(
            EXCHANGE, event.type, event.body.encode(), properties(event), mandatory=True
        )
    seconds = time.perf_counter() - started
    connection.close()
    return len(some) / seconds


def prepare(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(QUEUE, EXCHANGE, "#")
    channel.queue_purge(QUEUE)
    connection.close()


def clean_up(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_delete(QUEUE)
    channel.exchange_delete(EXCHANGE)
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=int, default=1000)
    options = parser.parse_args()
    django_settings.configure(STRANGLER={}, USE_TZ=True)
    django.setup()
    events = make_events(options.events)
    ways: dict[str, Callable[[str, list[Outgoing], int], float]] = {
        "pika alone, asynchronous confirms": pika_alone,
        "RabbitMQBroker": ours,
        "pika, a confirm for each": confirm_each,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            prepare(options.url)
            rates[name].append(way(options.url, events, options.window))
    clean_up(options.url)
    base = statistics.median(rates["pika alone, asynchronous confirms"])
    print(
        f"{options.events} events of 300 bytes, window {options.window}, quorum queue"
    )
    for name, found in rates.items():
        median = statistics.median(found)
        shown = " ".join(f"{rate:,.0f}" for rate in found)
        print(f"{name:36} {median:>8,.0f}/s  {median / base:5.2f} x   ({shown})")


if __name__ == "__main__":
    main()
