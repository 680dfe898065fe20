"""Typed events: published, captured in tests, delivered typed, old ones brought up."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest
from django.db import transaction

from django_strangler import publish_event, publish_events, subscribe
from django_strangler.contracts import (
    InvalidContract,
    Unreadable,
    as_events,
    event,
    limits,
    open_enum,
    reads,
    unit,
    upcast,
)
from django_strangler.contracts.fitting import misfit
from django_strangler.contracts.samples import sample_of
from django_strangler.events import Event
from django_strangler.exceptions import InvalidEvent, InvalidKey, InvalidPayload
from django_strangler.inbox.subscribers import registry as subscribers
from django_strangler.models import OutboxEvent
from django_strangler.outbox.encoding import encode
from django_strangler.testing import deliver

from .conftest import TYPE, value

pytestmark = pytest.mark.django_db


class Status(enum.Enum):
    PAID = "paid"
    OPEN = "open"


class Place(enum.Enum):
    FIRST = 1
    SECOND = 2


@dataclass(frozen=True, kw_only=True)
class Line:
    sku: str
    qty: int


@dataclass(frozen=True, kw_only=True)
class Everything:
    """One of each type that a contract can hold."""

    text: str
    yes: bool
    whole: int
    number: float
    money: Decimal
    moment: dt.datetime
    day: dt.date
    clock: dt.time
    span: dt.timedelta
    id: uuid.UUID
    status: Status
    place: Place
    open: Annotated[Status, open_enum]
    line: Line
    lines: list[Line]
    pairs: tuple[Line, ...]
    prices: dict[str, Decimal]
    maybe: Decimal | None
    cents: Annotated[int, unit("cents"), limits(least=0), "What it costs."]
    note: str | None = None
    perhaps: Annotated[Status, open_enum] | None = None


UTC = dt.timezone.utc
EVERYTHING = Everything(
    text="ä",
    yes=True,
    whole=7,
    number=2.0,
    money=Decimal("1E-7"),
    moment=dt.datetime(2030, 1, 7, 9, 0, 0, 5, UTC),
    day=dt.date(2030, 1, 7),
    clock=dt.time(9, 0, 0, 5),
    span=-dt.timedelta(days=2, microseconds=5),
    id=uuid.UUID(int=7),
    status=Status.PAID,
    place=Place.SECOND,
    open=Status.OPEN,
    line=Line(sku="a", qty=1),
    lines=[Line(sku="b", qty=2)],
    pairs=(Line(sku="c", qty=3),),
    prices={"a": Decimal("-2.50")},
    maybe=None,
    cents=5,
)


def given(name: str, *classes: Any, **options: Any) -> list[Event]:
    """What a subscriber of that name is handed."""
    got: list[Event] = []
    subscribe(*classes, name=name, **options)(got.append)
    return got


def test_what_is_published_comes_back_as_the_same_value(world):
    cls = world.declare(TYPE, Everything)
    got = given("all", cls)

    with transaction.atomic():
        published = publish_event(EVERYTHING, key="order:1")
    deliver([published])

    assert got[0].data == EVERYTHING
    assert got[0].payload["money"] == "1E-7"
    assert OutboxEvent.objects.get().headers == published.headers


def test_the_schema_says_what_the_encoder_writes(world):
    schema = world.declare(TYPE, Everything).__strangler_contract__.schema

    payload = json.loads(encode(EVERYTHING, limit=10_000))

    assert misfit(schema, payload, closed=True) is None
    for full in (True, False):
        assert misfit(schema, sample_of(schema, full=full), closed=True) is None


def test_the_typed_form_writes_what_the_other_writes(world):
    cls = world.declare(TYPE, value(id=str, total=(Decimal, Decimal("5"))))

    with transaction.atomic():
        typed = publish_event(cls(id="a"), key="order:1", headers={"shop": "x"})
        other = publish_event(
            TYPE, {"id": "a", "total": "5"}, key="order:1", headers={"shop": "x"}
        )

    rows = OutboxEvent.objects.values("type", "key", "lane", "body", "size", "headers")
    assert rows[0] == rows[1]
    assert (typed.payload, typed.type) == (other.payload, other.type)


def test_many_are_published_at_once(world):
    cls = world.declare(TYPE, value(id=str), version=2)

    with transaction.atomic():
        events = publish_events(
            each for n in range(3) for each in as_events(cls(id=str(n)), key="order:1")
        )

    assert [each.payload["id"] for each in events] == ["0", "1", "2"]
    assert events[0].headers["contract-version"] == 2


def test_an_event_is_captured_by_its_class_and_by_an_instance(
    world, assert_published, published_events
):
    cls = world.declare(TYPE, value(id=str), key="orders.order")

    with transaction.atomic():
        publish_event(cls(id="a"), key="orders.order:1")

    assert_published(cls, key="orders.order:1")
    assert_published(cls(id="a"), count=1)
    assert [each.data for each in published_events.of_type(cls)] == [cls(id="a")]
    with pytest.raises(AssertionError, match="never as wanted"):
        assert_published(cls(id="b"))
    with pytest.raises(AssertionError, match="should not have been"):
        published_events.assert_not_published(cls)


@pytest.mark.parametrize("key", ["", "users.user:1", "orders.orders:1"])
def test_a_key_of_another_kind_is_refused(world, key):
    cls = world.declare(TYPE, value(id=str), key="orders.order")

    with transaction.atomic(), pytest.raises(InvalidKey, match=r"kind 'orders\.order'"):
        publish_event(cls(id="a"), key=key)


def test_what_is_no_event_is_not_published(world):
    cls = world.declare(TYPE, value(id=str))
    reader = reads(TYPE)(value("Reader", id=str))

    class Derived(cls):
        pass

    with transaction.atomic():
        for wrong in ("order.placed", Line(sku="a", qty=1), reader(id="a"), None):
            with pytest.raises(InvalidEvent):
                publish_event(wrong)
        with pytest.raises(InvalidEvent, match="derived"):
            publish_event(Derived(id="a"))


def test_a_reader_s_class_reads_what_it_names_and_nothing_else(world):
    cls = world.declare(TYPE, value(id=str, secret=str))
    reader = reads(TYPE)(value("Reader", id=str))
    got = given("reader", reader)

    with transaction.atomic():
        deliver([publish_event(cls(id="a", secret="b"))])

    assert got[0].data == reader(id="a")


def test_types_and_patterns_stand_beside_each_other(world):
    cls = world.declare(TYPE, value(id=str))
    got = given("both", cls, "user.*")

    with transaction.atomic():
        deliver([publish_event("user.signup", {"a": 1}), publish_event(cls(id="a"))])

    assert [each.data for each in got] == [None, cls(id="a")]


def test_what_a_typed_subscriber_cannot_read_is_given_up_at_once(world):
    got = given("reader", world.declare(TYPE, value(lines=list[Line])))
    event = Event(type=TYPE, payload={"lines": [{"sku": "a", "qty": "many"}]})

    with pytest.raises(Unreadable, match=r"payload/lines/0/qty is 'many'"):
        deliver([event])

    assert got == []
    (subscriber,) = subscribers.all()
    assert issubclass(Unreadable, subscriber.final_errors)


def test_a_value_that_an_open_enum_does_not_know_stays_as_it_came(world):
    cls = world.declare(TYPE, value(status=Annotated[Status, open_enum]))
    got = given("reader", cls)

    deliver(
        [Event(type=TYPE, payload={"status": status}) for status in ("paid", "new")]
    )

    assert [each.data.status for each in got] == [Status.PAID, "new"]


def test_old_rows_replays_and_dead_letters_are_brought_up(world):
    world.declare(TYPE, value(id=str))
    with transaction.atomic():
        old = publish_event(TYPE, {"id": "a"})
    cls = world.declare(TYPE, value(id=str, total=int, currency=str), version=3)
    upcast(TYPE, 1, 2)(lambda payload: {**payload, "total": 0})
    upcast(TYPE, 2, 3)(lambda payload: {**payload, "currency": "EUR"})
    got = given("reader", cls)

    with transaction.atomic():
        new = publish_event(cls(id="b", total=1, currency="USD"))
    middle = Event(
        type=TYPE, payload={"id": "c", "total": 5}, headers={"contract-version": 2}
    )
    deliver([old, new, middle])

    assert [(each.data.total, each.data.currency) for each in got] == [
        (0, "EUR"),
        (1, "USD"),
        (5, "EUR"),
    ]
    assert got[0].payload == {"id": "a"}


def test_two_majors_are_published_in_one_transaction(world):
    old = world.declare(TYPE, value(id=str, total=str), key="order")
    new = world.declare(
        f"{TYPE}.v2",
        value("OrderPlaced2", id=str, cents=int),
        key="order",
        replaces=old,
        downcast=lambda each: old(id=each.id, total=str(each.cents / 100)),
        until="2030-03-01",
    )

    for _ in range(2):
        with transaction.atomic():
            publish_event(new(id="a", cents=250), key="order:1", idempotency_key="once")

    rows = OutboxEvent.objects.order_by("id").values_list("type", "body", "key")
    assert [*rows] == [
        (TYPE, '{"id":"a","total":"2.5"}', "order:1"),
        (f"{TYPE}.v2", '{"id":"a","cents":250}', "order:1"),
    ]
    world.write()
    assert world.store.of(TYPE)[0].until == "2030-03-01"


@pytest.mark.parametrize(
    "kind",
    [
        Any,
        object,
        dict,
        list,
        set[str],
        bytes,
        complex,
        int | str,
        int | str | None,
        tuple[int, str],
        dict[int, str],
        Annotated[str, limits(least=1)],
        Annotated[int, limits(longest=1)],
        Annotated[int, limits(least=0.5)],
        Annotated[str, open_enum],
        Annotated[Decimal, limits(pattern="^1", example="1")],
        enum.Enum("Mixed", {"A": 1, "B": "b"}),
        None,
        "Unknown",
    ],
    ids=str,
)
def test_what_no_contract_can_hold_is_refused_when_it_is_declared(world, kind):
    with pytest.raises(InvalidContract):
        world.declare(TYPE, value(field=kind))


@dataclass(frozen=True, kw_only=True)
class Tree:
    left: Tree | None


@dataclass(frozen=True)
class Positional:
    id: str


@dataclass(kw_only=True)
class Mutable:
    id: str


@pytest.mark.parametrize("cls", [Tree, Positional, Mutable, str])
def test_a_class_that_is_no_value_is_refused(world, cls):
    with pytest.raises(InvalidContract):
        world.declare(TYPE, cls)


@pytest.mark.parametrize(
    "options",
    [
        {"version": 0},
        {"version": "1"},
        {"until": "soon"},
        {"downcast": str},
        {"replaces": Line, "downcast": str},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(world, options):
    with pytest.raises(InvalidContract):
        world.declare(TYPE, value(id=str), **options)


def test_names_are_given_once(world):
    world.declare(TYPE, value(id=str))
    with pytest.raises(InvalidContract, match="Two events"):
        event(TYPE)(value("Another", id=str))
    with pytest.raises(InvalidContract, match="not an event type"):
        event("placed")(value(id=str))
    upcast(TYPE, 1, 2)(dict)
    with pytest.raises(InvalidContract, match="two upcasters"):
        upcast(TYPE, 1, 3)(sorted)
    with pytest.raises(InvalidContract, match="goes up"):
        upcast(TYPE, 2, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"least": 2, "most": 1},
        {"shortest": 2, "longest": 1},
        {"pattern": "^a"},
        {"pattern": "^a", "example": "b"},
        {"pattern": "(", "example": "b"},
    ],
    ids=str,
)
def test_limits_that_nothing_fits_are_refused(options):
    with pytest.raises(InvalidContract):
        limits(**options)


def test_in_tests_what_is_published_is_validated_typed_or_not(world, validated):
    cls = world.declare(TYPE, value(id=str), key="order")
    later = world.declare("order.paid", value("Paid", id=str), version=2)

    with transaction.atomic():
        publish_event(TYPE, {"id": "a"}, key="order:1")
        publish_event(later(id="a"))
        publish_event("order.unknown", {"any": "thing"})
        for wrong in ({"id": 1}, {}, {"id": "a", "more": 1}):
            with pytest.raises(InvalidPayload, match=r"declares: payload/(id|more)"):
                publish_event(TYPE, wrong, key="order:1")
        with pytest.raises(InvalidPayload):
            publish_event(cls(id=5), key="order:1")
        with pytest.raises(InvalidKey):
            publish_event(TYPE, {"id": "a"})
        with pytest.raises(InvalidEvent, match="contract-version"):
            publish_event("order.paid", {"id": "a"})


def test_what_was_published_is_not_validated_again(world, validated):
    world.declare(TYPE, value(id=str))
    moment = dt.datetime(2030, 1, 7, tzinfo=UTC)

    validated(Event(type=TYPE, payload={}, published_at=moment))


def test_validating_can_be_switched_off(world, validated, settings):
    world.declare(TYPE, value(id=str))
    settings.STRANGLER = {**settings.STRANGLER, "CONTRACTS": {"VALIDATE": False}}

    with transaction.atomic():
        publish_event(TYPE, {})

    assert OutboxEvent.objects.get().type == TYPE
