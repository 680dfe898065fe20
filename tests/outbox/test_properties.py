"""Whatever the payload: stored and read back as its JSON, or refused with our error."""

from __future__ import annotations

import json
import math
from datetime import datetime, time, timezone
from decimal import Decimal

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_strangler import publish_event
from django_strangler.events import Event
from django_strangler.exceptions import StranglerError
from django_strangler.models import OutboxEvent
from django_strangler.outbox import insertion
from django_strangler.outbox.publishing import publish_events

TEXT = st.text(st.characters(codec=None), max_size=20)  # Surrogates and NUL as well.
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXT,
    st.decimals(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(timezone.utc)),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.binary(max_size=3),
    st.sets(st.integers(), max_size=2),
    st.sampled_from([10**4299, object(), Decimal("sNaN"), math.inf]),
)
NAMES = st.one_of(TEXT, st.integers(), st.none())
PAYLOADS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(TEXT, inner, max_size=4),
        st.dictionaries(NAMES, inner, max_size=3),
        st.tuples(inner, inner),
        st.integers(25, 40).flatmap(lambda levels: inner.map(nest(levels))),
    ),
    max_leaves=12,
)


def nest(levels):
    def wrap(value):
        for _ in range(levels):
            value = [value]
        return value

    return wrap


class Encoder(DjangoJSONEncoder):
    """Django's, but with the microseconds that it drops."""

    def default(self, value):
        if isinstance(value, (datetime, time)):
            return value.isoformat().replace("+00:00", "Z")
        return super().default(value)


def as_json(payload):
    return json.loads(json.dumps(payload, cls=Encoder))


@pytest.fixture
def alias(any_db_rolled_back):
    return any_db_rolled_back


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    payload=PAYLOADS,
    key=st.one_of(st.none(), TEXT),
    headers=st.dictionaries(
        st.one_of(st.from_regex(r"[a-z0-9._-]{1,5}", fullmatch=True), TEXT),
        st.one_of(TEXT, st.integers(), st.booleans()),
        max_size=2,
    ),
    many=st.booleans(),
)
def test_stored_and_read_back_or_refused(alias, payload, key, headers, many):
    with transaction.atomic(using=alias):
        try:
            if many:
                given = Event(
                    type="a.b", payload=payload, key=key or "", headers=headers
                )
                [event] = publish_events([given], using=alias)
            else:
                event = publish_event(
                    "a.b", payload, key=key, headers=headers, using=alias
                )
        except StranglerError:
            event = None
        # Either way, the transaction goes on.
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")

    if event is not None:
        row = OutboxEvent.objects.using(alias).get(event_id=event.id)
        assert row.payload == event.payload == as_json(payload)
        assert row.key == (key or "")
        assert row.headers == headers
        assert row.as_event() == event
        found, _ = insertion.find(connections[alias], event.id)
        assert found.body == row.body
