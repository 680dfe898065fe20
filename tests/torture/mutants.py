"""
Rules broken on purpose: a suite that does not find these finds nothing.

    python -m tests.torture --mutant marks-first --seconds 40

Each is patched into relays and consumers while they start; no source is touched. The
faults are those that bring it to light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    what: str
    apply: Callable[[], None]
    faults: tuple[str, ...]


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, *faults: str) -> Callable[[Callable[[], None]], None]:
    def register(apply: Callable[[], None]) -> None:
        MUTANTS[name] = Mutant(what=apply.__doc__ or "", apply=apply, faults=faults)

    return register


@mutant("no-confirms", "kill RabbitMQ", "cut a relay off RabbitMQ", "memory alarm")
def no_confirms() -> None:
    """Confirms are not awaited: what is written to the socket counts as confirmed."""
    from django_strangler.brokers.base import Kind, Outcome
    from django_strangler.brokers.rabbitmq.event_channel import EventChannel

    publish = EventChannel.publish

    def publish_and_believe(self: Any, events: Any) -> None:
        publish(self, events)
        sent, self.unconfirmed = list(self.unconfirmed.values()), {}
        if sent:
            believed = [Outcome(event.row, Kind.CONFIRMED) for event in sent]
            self._user.ended(self, sent, believed)

    EventChannel.publish = publish_and_believe  # type: ignore[method-assign]


@mutant("not-mandatory", "no route")
def not_mandatory() -> None:
    """``mandatory`` is off: RabbitMQ confirms what it routes nowhere."""
    import pika

    from django_strangler.brokers.rabbitmq import wire

    publish = pika.spec.Basic.Publish

    class Careless(publish):  # type: ignore[misc,valid-type]
        def __init__(self, *, mandatory: bool, **options: Any) -> None:
            super().__init__(mandatory=False, **options)

    spec = type("spec", (), {"Basic": type("Basic", (), {"Publish": Careless})})
    frames = type("frame", (), {"Method": pika.frame.Method})
    fake = {"spec": spec, "frame": frames, "BasicProperties": pika.BasicProperties}
    wire.pika = type("pika", (), fake)  # type: ignore[assignment]


@mutant("no-order", "reject-publish", "cut a relay off RabbitMQ", "kill RabbitMQ")
def no_order() -> None:
    """The rule of order is off: the window fills with events of one key."""
    from django_strangler.outbox.backlog import Backlog

    add = Backlog.add

    def add_all(self: Any, due: Any, now: float, without_types: Any = ()) -> int:
        free = [each._replace(event=each.event._replace(order_key="")) for each in due]
        return add(self, free, now, without_types)

    Backlog.add = add_all  # type: ignore[method-assign]


@mutant("cursor", "pause a publisher", "kill a publisher")
def cursor() -> None:
    """Each read goes on behind the last one, and starts anew once a second."""
    import time

    from django_strangler.outbox.store import Store

    def going_on(read: Any) -> Any:
        def read_on(self: Any, *given: Any, **options: Any) -> Any:
            last, rescan = getattr(self, "mutant", (0, 0.0))
            now = time.monotonic()
            if now > rescan:
                last, rescan = 0, now + 1
            due = read(self, *given, **options)
            due = [each._replace(older=None) for each in due if each.event.row > last]
            self.mutant = (max([last, *(each.event.row for each in due)]), rescan)
            return due

        return read_on

    Store.read = going_on(Store.read)  # type: ignore[method-assign]
    Store.read_part = going_on(Store.read_part)  # type: ignore[method-assign]


@mutant("marks-first", "kill a relay", "kill RabbitMQ", "no network to RabbitMQ")
def marks_first() -> None:
    """Events are marked when they are sent, before they are confirmed."""
    from django_strangler.outbox.marking import Marks
    from django_strangler.outbox.sending import Sending

    send = Sending._hand_over

    def mark_and_send(self: Any, events: Any, **options: Any) -> None:
        Marks(self._work.store.connection).confirm(event.row for event in events)
        send(self, events, **options)

    Sending._hand_over = mark_and_send  # type: ignore[method-assign]


@mutant("no-token", "a relay wakes up with returns of long ago")
def no_token() -> None:
    """A relay parks without the lease's token: whoever has the lane by now."""
    from django_strangler.outbox.marking import Marks

    def opinion(self: Any, assignments: str, params: Any, rows: Any, token: Any) -> int:
        return int(
            self._mark(
                f"UPDATE {self._table}{self._sql.by_id} SET {assignments} WHERE "
                f"{self._sql.among('id', rows)} AND (confirmed_at IS NULL) IS TRUE "
                "AND parked_at IS NULL",
                params,
            )
        )

    Marks._opinion = opinion  # type: ignore[method-assign]


@mutant("no-multiple", "kill a relay")
def no_multiple() -> None:
    """A confirm of many counts as a confirm of the last."""
    from django_strangler.brokers.rabbitmq.event_channel import EventChannel

    confirmed = EventChannel._confirmed

    def confirm_one(self: Any, frame: Any) -> None:
        frame.method.multiple = False
        confirmed(self, frame)

    EventChannel._confirmed = confirm_one  # type: ignore[method-assign]


@mutant("inbox-last", "kill a consumer", "cut the consumers' network")
def inbox_last() -> None:
    """The inbox row comes after the effect, in a transaction of its own."""
    from django.db import connections, transaction

    from django_strangler.inbox import handling, workers

    def handle(subscriber: Any, event: Any, body: Any = None) -> bool:
        alias = handling.inbox_alias()
        with transaction.atomic(using=alias):
            subscriber.handler(event)
        try:
            with transaction.atomic(using=alias):
                handling._claim(subscriber, event, body, connections[alias])
        except handling._AlreadyHandled:
            return False
        return True

    workers.handle = handle


@mutant("no-lease", "kill a relay", "pause a relay beyond its lease")
def no_lease() -> None:
    """The lease is not looked at: each relay drains all lanes, whoever holds them."""
    from django_strangler.outbox.lanes import LANES
    from django_strangler.outbox.leases import LaneChange, Leases

    def keep(self: Any) -> LaneChange:
        self._hold.keep()
        before, self.lanes = self.lanes, frozenset(range(LANES))
        return LaneChange(frozenset(), self.lanes - before)

    Leases.keep = keep  # type: ignore[method-assign]
    Leases.is_valid = property(lambda self: True)  # type: ignore[assignment]
