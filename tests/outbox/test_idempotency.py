from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import OperationalError, connections, transaction

from django_strangler import publish_event
from django_strangler.clock import DatabaseNow
from django_strangler.databases import is_transient
from django_strangler.events import Event
from django_strangler.exceptions import IdempotencyConflict
from django_strangler.models import IdempotencyKey, OutboxEvent
from django_strangler.outbox import idempotency


def publish(alias, payload=1, *, key="order-1", type="a.b", **more):
    return publish_event(type, payload, idempotency_key=key, using=alias, **more)


def rows(alias):
    return OutboxEvent.objects.using(alias).order_by("id")


def test_the_same_key_again_returns_the_first_event(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        first = publish(alias, {"a": 1, "b": 2}, headers={"tenant": "x"})
    with transaction.atomic(using=alias):
        again = publish(alias, {"b": 2, "a": 1}, headers={"tenant": "y"})

    assert again == first
    assert rows(alias).get().event_id == first.id


def test_the_same_key_twice_in_one_transaction(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        assert publish(alias) == publish(alias)
        publish_event("a.b", 2, using=alias)

    assert [row.payload for row in rows(alias)] == [1, 2]


@pytest.mark.parametrize(
    "other", [{"payload": 2}, {"payload": True}, {"payload": 1.0}, {"type": "a.c"}]
)
def test_another_event_under_the_key_is_a_conflict(any_db_rolled_back, other):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        publish(alias)
        with pytest.raises(IdempotencyConflict, match="'order-1'"):
            publish(alias, **other)
        publish_event("a.b", "and on it goes", using=alias)

    assert [row.payload for row in rows(alias)] == [1, "and on it goes"]


def test_keys_are_compared_byte_for_byte(any_db_rolled_back):
    alias = any_db_rolled_back
    keys = [
        "order-Ab1",
        "order-aB1",
        "order-ab1 ",
        "órder-ab1",
        "o\x00",
        "\ud800",
        "k" * 999,
    ]
    with transaction.atomic(using=alias):
        for key in keys:
            publish(alias, key=key)

    assert len(rows(alias)) == len(keys)


def test_a_key_that_rolled_back_is_free(any_db_rolled_back):
    alias = any_db_rolled_back
    with suppress(RuntimeError), transaction.atomic(using=alias):
        publish(alias, 1)
        raise RuntimeError
    with transaction.atomic(using=alias):
        publish(alias, 2)

    assert [row.payload for row in rows(alias)] == [2]


def test_a_key_is_remembered_when_its_row_is_gone(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        first = publish(alias, {"a": 1}, correlation_id="c")
    rows(alias).delete()  # Confirmed, with a RETENTION of 0.
    with transaction.atomic(using=alias):
        again = publish(alias, {"a": 1}, correlation_id="c")
        with pytest.raises(IdempotencyConflict):
            publish(alias, {"a": 2})

    assert (again.id, again.payload, again.type) == (first.id, {"a": 1}, "a.b")
    assert not rows(alias)


def test_a_key_works_without_retention(settings, any_db_rolled_back):
    alias = any_db_rolled_back
    settings.STRANGLER = {"RETENTION": 0}
    with transaction.atomic(using=alias):
        assert publish(alias).id == publish(alias).id


def test_a_pruned_key_is_free_and_stands_for_an_event_of_another_id(
    any_db_rolled_back,
):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        first = publish(alias, 1)
    assert sum(idempotency.prune(alias, older_than=3600)) == 0
    IdempotencyKey.objects.using(alias).update(created_at=DatabaseNow(-7200))
    assert sum(idempotency.prune(alias, older_than=3600, batch=1)) == 1
    with transaction.atomic(using=alias):
        second = publish(alias, 2)

    assert second.id != first.id


def test_an_id_cannot_be_guessed_from_its_key(any_db_rolled_back):
    alias = any_db_rolled_back
    ids = set()
    for _ in range(2):
        with suppress(RuntimeError), transaction.atomic(using=alias):
            ids.add(publish(alias).id)
            raise RuntimeError

    assert len(ids) == 2


def test_the_table_tells_no_key_to_who_does_not_know_the_secret(
    settings, any_db_rolled_back
):
    alias = any_db_rolled_back
    digests = set()
    for secret in ("one", "another"):
        settings.SECRET_KEY = secret
        with suppress(RuntimeError), transaction.atomic(using=alias):
            publish(alias)
            digests.add(IdempotencyKey.objects.using(alias).get().digest)
            raise RuntimeError

    assert len(digests) == 2


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_a_key_is_known_while_the_secret_is_replaced(
    settings, any_db_rolled_back, order
):
    """Processes with the former secret alone run beside those that know both."""
    alias = any_db_rolled_back
    secrets = {"old": ("former", []), "new": ("latest", ["former"])}
    events = []
    for deployed in order:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = secrets[deployed]
        with transaction.atomic(using=alias):
            events.append(publish(alias))

    assert events[0] == events[1]


def test_a_delayed_event_has_its_key_too(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        assert publish(alias, delay=60).id == publish(alias).id

    assert rows(alias).get().available_at is not None


def isolation(alias, level):
    if level is None:
        return
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")


LEVELS = [
    ("sqlite", None),
    ("postgresql", "READ COMMITTED"),
    ("postgresql", "REPEATABLE READ"),
    ("mariadb", "READ COMMITTED"),
    ("mariadb", "REPEATABLE READ"),
]


def snapshot_isolation(value):
    """Where a server has it: MariaDB, which has switched it on since 11.6."""
    return (
        f"SET sql_mode = @@sql_mode /*M!101108 , innodb_snapshot_isolation={value} */"
    )


@pytest.fixture(params=LEVELS, ids=lambda level: " ".join(map(str, level)).lower())
def raced_db(request, make_db):
    """A database whose transactions have a snapshot before they publish."""
    kind, level = request.param
    options = {}
    if kind == "mariadb":
        options["isolation_level"] = level.lower()
        options["init_command"] = snapshot_isolation("OFF")
    alias = make_db(kind, **options)

    def snapshot():
        if kind == "postgresql":
            isolation(alias, level)
        rows(alias).count()

    return alias, kind, snapshot


def test_the_second_of_two_transactions_gets_the_first_event(raced_db):
    alias, kind, snapshot = raced_db
    if kind == "sqlite":
        pytest.skip("SQLite lets only one of them begin: see the next test.")
    committed = threading.Event()
    ready = threading.Event()

    def second():
        try:
            with transaction.atomic(using=alias):
                snapshot()
                ready.set()
                assert committed.wait(60)
                event = publish(alias)
                with pytest.raises(IdempotencyConflict):
                    publish(alias, "another")
                publish_event("a.b", "usable", using=alias)
            return event
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(second)
        assert ready.wait(60)
        with transaction.atomic(using=alias):
            first = publish(alias)
        committed.set()
        assert future.result(60) == first

    assert [row.payload for row in rows(alias)] == [1, "usable"]


def test_with_snapshot_isolation_the_second_fails_and_may_be_tried_again(make_db):
    """As any write of what has changed since, the newer MariaDB refuses the key."""
    alias = make_db(
        "mariadb",
        isolation_level="repeatable read",
        init_command=snapshot_isolation("ON"),
    )
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'")
        if cursor.fetchone() != ("innodb_snapshot_isolation", "ON"):
            pytest.skip("this server has no snapshot isolation")
    first: list[Event] = []

    def other():
        try:
            with transaction.atomic(using=alias):
                first.append(publish(alias))
        finally:
            connections[alias].close()

    def late():
        with transaction.atomic(using=alias):
            rows(alias).count()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other).result(20)
            publish(alias)

    with pytest.raises(OperationalError) as raised:
        late()

    assert is_transient(raised.value)
    with transaction.atomic(using=alias):
        assert publish(alias) == first[0]
    assert rows(alias).get().payload == 1


def test_many_transactions_race_for_one_key(raced_db):
    alias, kind, snapshot = raced_db
    start = threading.Barrier(6)

    def race(number):
        try:
            start.wait(60)
            with transaction.atomic(using=alias):
                if kind != "sqlite":
                    snapshot()
                return publish(alias, {"same": True}).id
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(6) as pool:
        ids = set(pool.map(race, range(6)))

    assert ids == {rows(alias).get().event_id}


def test_the_second_waits_for_the_first_and_takes_over(make_db):
    alias = make_db("postgresql")
    inserted, over = threading.Event(), threading.Event()

    def first():
        try:
            with transaction.atomic(using=alias):
                publish(alias, 1)
                inserted.set()
                assert over.wait(60)
                transaction.set_rollback(True, using=alias)
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(first)
        assert inserted.wait(60)
        timer = threading.Timer(0.2, over.set)
        timer.start()
        with transaction.atomic(using=alias):
            event = publish(alias, 2)
        future.result(60)

    assert rows(alias).get().payload == 2
    assert rows(alias).get().event_id == event.id
