"""
Connections that can read every message.

pika ends a connection over a header that it cannot decode: a date beyond the year 9999,
an infinite number, tables in tables in tables. RabbitMQ delivers the message again, and
so a user who may publish one could stop a queue.
"""

from __future__ import annotations

import struct
from typing import Any

import pika

_DEEPEST = 8  # Tables in tables; nobody's headers have as many.
_SIZES = {
    b"t": 1, b"b": 1, b"B": 1, b"U": 2, b"u": 2, b"s": 2, b"I": 4, b"i": 4, b"L": 8,
    b"l": 8, b"f": 4, b"d": 8, b"D": 5, b"T": 8, b"V": 0,
}  # fmt: skip


class Undecodable:
    """Stands in a delivery's headers for a value that cannot be told."""

    def __repr__(self) -> str:
        return "(cannot be decoded)"


UNDECODABLE = Undecodable()
# Ours, so that whoever reads the headers notices: perhaps the key was among the rest.
CUT_OFF = "strangler-rest"


class LenientConnection(pika.SelectConnection):  # type: ignore[misc]  # Untyped.
    """As pika's, but for messages whose headers it cannot decode."""

    def _read_frame(self) -> Any:
        try:
            return super()._read_frame()
        except Exception:
            found = _content_header(self._frame_buffer)
            if found is None:
                raise
            return found


def _content_header(buffer: bytes) -> tuple[int, Any] | None:
    """How many bytes it has, and the frame; None if it is another one."""
    kind, channel, size = struct.unpack_from(">BHI", buffer)
    if kind != pika.spec.FRAME_HEADER:
        return None
    data = bytes(buffer[7 : 7 + size])
    (body_size,) = struct.unpack_from(">Q", data, 4)
    (flags,) = struct.unpack_from(">H", data, 12)
    made = pika.BasicProperties
    properties = made()
    offset = 14
    for flag, name in (
        (made.FLAG_CONTENT_TYPE, "content_type"),
        (made.FLAG_CONTENT_ENCODING, "content_encoding"),
        (made.FLAG_HEADERS, "headers"),
        (made.FLAG_DELIVERY_MODE, "delivery_mode"),
        (made.FLAG_PRIORITY, "priority"),
        (made.FLAG_CORRELATION_ID, "correlation_id"),
        (made.FLAG_REPLY_TO, "reply_to"),
        (made.FLAG_EXPIRATION, "expiration"),
        (made.FLAG_MESSAGE_ID, "message_id"),
        (made.FLAG_TIMESTAMP, "timestamp"),
        (made.FLAG_TYPE, "type"),
        (made.FLAG_USER_ID, "user_id"),
        (made.FLAG_APP_ID, "app_id"),
    ):
        if not flags & flag:
            continue
        value: Any
        if name == "headers":
            value, offset = _table(data, offset, 0)
        elif name == "timestamp":
            (value,), offset = struct.unpack_from(">Q", data, offset), offset + 8
        elif name in ("delivery_mode", "priority"):
            value, offset = data[offset], offset + 1
        else:
            value, offset = pika.data.decode_short_string(data, offset)
        setattr(properties, name, value)
    return size + 8, pika.frame.Header(channel, body_size, properties)


def _table(data: bytes, offset: int, depth: int) -> tuple[dict[Any, Any], int]:
    (size,) = struct.unpack_from(">I", data, offset)
    offset += 4
    end = offset + size
    found: dict[Any, Any] = {}
    while offset < end:
        try:
            name, offset = pika.data.decode_short_string(data, offset)
            found[name], offset = _value(data, offset, depth)
        except _Unknown:
            found[CUT_OFF] = UNDECODABLE
            break
    return found, end


def _value(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    kind = data[offset : offset + 1]
    if kind in (b"F", b"A", b"S", b"x"):
        (size,) = struct.unpack_from(">I", data, offset + 1)
        end = offset + 5 + size
        if kind in (b"S", b"x"):
            return pika.data.decode_value(data, offset)[0], end
        if depth >= _DEEPEST:
            return UNDECODABLE, end
        if kind == b"F":
            return _table(data, offset + 1, depth + 1)[0], end
        return _items(data, offset + 5, end, depth + 1), end
    if kind not in _SIZES:
        raise _Unknown  # Nor can anybody tell where it ends.
    try:
        value = pika.data.decode_value(data, offset)[0]
    except (ValueError, ArithmeticError, OSError):
        value = UNDECODABLE  # A date, or a number, beyond Python's.
    return value, offset + 1 + _SIZES[kind]


def _items(data: bytes, offset: int, end: int, depth: int) -> list[Any]:
    found = []
    while offset < end:
        try:
            value, offset = _value(data, offset, depth)
        except _Unknown:
            value, offset = UNDECODABLE, end
        found.append(value)
    return found


class _Unknown(Exception):
    """A type that AMQP does not know."""
