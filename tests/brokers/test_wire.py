"""The frames are byte for byte those of pika's own encoder."""

from __future__ import annotations

from datetime import datetime, timezone

import pika
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_strangler.brokers.rabbitmq.wire import Encoder, properties
from tests.brokers.factories import outgoing

words = st.text(min_size=1, max_size=60)
# Larger numbers go over the wire in test_rabbitmq: pika 1.3 cannot encode all of them.
values = st.one_of(st.text(), st.booleans(), st.integers(-(2**31), 2**31 - 1))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    type=words,
    key=st.text(max_size=60),
    body=st.text(max_size=500),
    correlation_id=st.text(max_size=60),
    headers=st.dictionaries(words, values, max_size=6),
    published_at=st.datetimes(
        datetime(1970, 1, 3), datetime(2500, 1, 1), timezones=st.timezones()
    ),
    frame_max=st.sampled_from([4096, 131_072]),
    user_id=st.sampled_from(["", "relay", "Zoë"]),
)
def test_an_event_is_encoded_as_pika_would(
    headers, frame_max, published_at, user_id, **fields
):
    event = outgoing(7, headers=headers, published_at=published_at, **fields)
    encoder = Encoder(
        exchange="events",
        app_id="shop",
        channel=3,
        frame_max=frame_max,
        user_id=user_id,
    )

    frames = b"".join(encoder.frames(event, headers))

    publish = pika.spec.Basic.Publish(
        exchange="events", routing_key=event.type, mandatory=True
    )
    body = event.body.encode()
    expected = pika.frame.Method(3, publish).marshal()
    expected += pika.frame.Header(
        3, len(body), properties(event, headers, "shop", user_id)
    ).marshal()
    for start in range(0, len(body), frame_max - 8):
        expected += pika.frame.Body(3, body[start : start + frame_max - 8]).marshal()
    assert frames == expected


def test_types_and_names_without_end_take_no_memory_without_end():
    encoder = Encoder(exchange="events", app_id="shop", channel=1, frame_max=131_072)
    moment = datetime(2025, 3, 1, tzinfo=timezone.utc)

    for number in range(5000):
        encoder.frames(
            outgoing(number, f"test.n{number}", published_at=moment),
            {f"name-{number}": "value"},
        )

    assert len(encoder._types) <= 2000
    assert len(encoder._names) <= 2000
