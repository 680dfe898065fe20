"""What somebody who may publish can think of, by kind."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pika

TYPE = "payment.completed"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\n2026-01-01 ERROR forged\x9b2J\u202e"


@dataclass
class Message:
    """As it is published; what is not said is as a relay says it."""

    body: bytes = b"{}"
    key: str = TYPE
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    dead: bool | None = True  # What becomes of it; None: that is a race.

    def publish(self, channel: Any, exchange: str, kind: str) -> None:
        given = {"message_id": str(uuid4()), "type": self.key, "app_id": "monolith"}
        headers = {"kind": kind, **self.headers}
        properties = {**given, "headers": headers, "delivery_mode": 2}
        channel.basic_publish(
            exchange,
            self.key,
            self.body,
            pika.BasicProperties(**{**properties, **self.properties}),
        )


def body(text: bytes) -> Callable[[Any], Message]:
    return lambda _: Message(text)


def headers(**given: Any) -> Callable[[Any], Message]:
    """Headers that steer nothing: the event is handled as if they were not there."""
    renamed = {name.replace("__", "-"): value for name, value in given.items()}
    return lambda _: Message(headers=renamed, dead=False)


def unfit(**given: Any) -> Callable[[Any], Message]:
    """Headers of ours that cannot be read."""
    renamed = {name.replace("__", "-"): value for name, value in given.items()}
    return lambda _: Message(headers=renamed)


def said(**given: Any) -> Callable[[Any], Message]:
    """Properties that make it no event."""
    return lambda _: Message(properties=given)


def harmless(**given: Any) -> Callable[[Any], Message]:
    return lambda _: Message(properties=given, dead=False)


def nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"a": table}
    return table


A_DATE_BEYOND_ALL = bytearray(b"T" + struct.pack(">Q", 2**62))
TABLES_IN_TABLES = bytearray(
    b"F"
    + b"".join(struct.pack(">I", 7 * (400 - n) - 7) + b"\x01aF" for n in range(399))
    + struct.pack(">I", 0)
)


@dataclass
class Around:
    """What an attacker may know."""

    victim: str  # A queue that is not bound to anything.
    queue: str
    seen: str  # The id of an event that was handled.


# By kind: made anew each time, so that ids differ.
KINDS: dict[str, Callable[[Around], Message]] = {
    "no body": body(b""),
    "half an object": body(b"{"),
    "no UTF-8": body(b"\xff\xfe{}"),
    "a compressed body": body(gzip.compress(b"[" + b"0," * 100_000 + b"0]")),
    "NaN": body(b'{"good": NaN}'),
    "an infinite number": body(b'{"good": 1e999}'),
    "a number of 5,000 digits": body(b'{"good": ' + b"9" * 5000 + b"}"),
    "lists in lists": body(b"[" * 100_000 + b"]" * 100_000),
    "objects in objects": body(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a body that is too large": body(b"[" + b"1," * 600_000 + b"1]"),
    "many small objects": lambda _: Message(
        b"[" + b"{}," * 30_000 + b"{}]", dead=False
    ),
    "null": lambda _: Message(b"null", dead=False),
    "half a surrogate pair": lambda _: Message(rb'{"a": "\ud800"}', dead=False),
    "NUL": lambda _: Message(rb'{"a": "\u0000"}', dead=False),
    "names twice": lambda _: Message(b'{"a": 1, "a": 2}', dead=False),
    "what fails": body(b'{"fail": "never"}'),
    "what fails with escapes": lambda _: Message(
        b'{"fail": "\\u001b[2J\\r\\nforged"}', properties={"correlation_id": ESCAPES}
    ),
    "no id": said(message_id=None),
    "an id that is none": said(message_id="'; DROP TABLE strangler_inboxentry"),
    "an id with escapes": said(message_id=ESCAPES),
    "an id that was handled": lambda around: Message(
        b'{"good": "another"}', properties={"message_id": around.seen}
    ),
    "another type than its key": said(type="payout.made"),
    "a type with escapes": said(type=f"payment.{ESCAPES}"),
    "a key with escapes": lambda _: Message(key=f"payment.{ESCAPES[:30]}", dead=False),
    "a type nobody knows": lambda _: Message(key="order.created"),
    "a publisher nobody trusts": lambda _: Message(
        b'{"good": "paid"}', key="payout.made"
    ),
    "CC, unreadable": lambda around: Message(
        b"{", headers={"CC": [around.victim, around.queue, f"{around.queue}.dead"]}
    ),
    "BCC, unreadable": lambda around: Message(
        b"{", headers={"BCC": [around.victim, around.queue]}
    ),
    "CC, failing": lambda around: Message(
        b'{"fail": "never"}', headers={"CC": [around.victim, f"{around.queue}.dead"]}
    ),
    "failed a thousand times": headers(strangler__failed__times=1000),
    "given up by all": lambda _: Message(
        b'{"fail": "never"}',
        headers={
            "strangler-failed-given-up": "counts fails",
            "x-death": [{"count": 9}],
        },
    ),
    "vouched for by itself": lambda _: Message(
        b'{"good": "vouched"}',
        key="payout.made",
        headers={"strangler-from-user": "relay", "strangler-from-key": "payout.made"},
    ),
    "delivered many times": headers(**{"x-delivery-count": 19}),
    "a date beyond all": headers(x=A_DATE_BEYOND_ALL),
    "tables in tables": headers(x=TABLES_IN_TABLES),
    "tables 30 deep": headers(x=nested(30)),
    "a key that cannot be decoded": unfit(strangler__key=A_DATE_BEYOND_ALL),
    "a key that is a table": unfit(strangler__key={"a": 1}),
    "a key that is a number": unfit(strangler__key=7),
    "a long key": headers(strangler__key="k" * 60_000),
    "a decision that is a list": unfit(**{"flag-counts": [1, 2]}),
    "a thousand headers": headers(**{f"x{n}": n for n in range(1000)}),
    "names of methods": headers(__init__="x", constructor="x", **{"": "x"}),
    "a forged trace": headers(
        traceparent=f"00-{ESCAPES}-01-01", tracestate="x=" * 9000
    ),
    "published in the year 9999": headers(
        strangler__published__at="9999-12-31T23:59:59.999999-23:59"
    ),
    "a timestamp of the far future": harmless(timestamp=2**62),
    "an address to answer to": harmless(reply_to="victim", content_encoding="gzip"),
    "priority": harmless(priority=255, delivery_mode=1),
    "what expires": lambda _: Message(properties={"expiration": "1"}, dead=None),
    "another application": harmless(app_id="x" * 255),
}


@contextmanager
def raw_headers() -> Iterator[None]:
    """Let pika write a ``bytearray`` as the bytes of a header's value that it is."""

    def encode(pieces: list[bytes], value: Any) -> int:
        if isinstance(value, bytearray):
            pieces.append(bytes(value))
            return len(value)
        return original(pieces, value)

    original = pika.data.encode_value
    pika.data.encode_value = encode
    try:
        yield
    finally:
        pika.data.encode_value = original
