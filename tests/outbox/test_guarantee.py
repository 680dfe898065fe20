"""G1: an event exists if and only if the transaction that published it committed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from django.contrib.auth.models import Group
from django.db import connections, transaction

from django_strangler import publish_event, publish_events
from django_strangler.events import Event
from django_strangler.models import OutboxEvent


def publish(number, alias):
    return publish_event("group.created", number, using=alias)


def payloads(alias):
    return sorted(row.payload for row in OutboxEvent.objects.using(alias).all())


def groups(alias):
    return sorted(
        int(name) for name in Group.objects.using(alias).values_list("name", flat=True)
    )


def create(number, alias):
    Group.objects.using(alias).create(name=str(number))
    publish(number, alias)


def test_commit_and_rollback(any_db):
    with transaction.atomic(using=any_db):
        create(1, any_db)
    with suppress(RuntimeError), transaction.atomic(using=any_db):
        create(2, any_db)
        raise RuntimeError

    assert payloads(any_db) == groups(any_db) == [1]


def test_savepoints(any_db_rolled_back):
    with transaction.atomic(using=any_db_rolled_back):
        create(1, any_db_rolled_back)
        with suppress(RuntimeError), transaction.atomic(using=any_db_rolled_back):
            create(2, any_db_rolled_back)
            with transaction.atomic(using=any_db_rolled_back):
                create(3, any_db_rolled_back)
            raise RuntimeError
        with transaction.atomic(using=any_db_rolled_back):
            create(4, any_db_rolled_back)
            with suppress(RuntimeError), transaction.atomic(using=any_db_rolled_back):
                create(5, any_db_rolled_back)
                raise RuntimeError

    assert payloads(any_db_rolled_back) == groups(any_db_rolled_back) == [1, 4]


def test_an_error_after_the_event_takes_it_along(any_db_rolled_back):
    with suppress(Exception), transaction.atomic(using=any_db_rolled_back):
        create(1, any_db_rolled_back)
        Group.objects.using(any_db_rolled_back).create(name="1")

    assert payloads(any_db_rolled_back) == groups(any_db_rolled_back) == []


def test_many_events_are_all_or_none(any_db_rolled_back):
    events = [Event(type="group.created", payload=n) for n in range(600)]
    with suppress(RuntimeError), transaction.atomic(using=any_db_rolled_back):
        publish_events(events, using=any_db_rolled_back)
        raise RuntimeError
    assert payloads(any_db_rolled_back) == []

    with transaction.atomic(using=any_db_rolled_back):
        publish_events(events, using=any_db_rolled_back)
    assert payloads(any_db_rolled_back) == list(range(600))


def test_nobody_else_sees_it_before_the_commit(any_db):
    def seen():
        try:
            return payloads(any_db)
        finally:
            connections[any_db].close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(using=any_db):
            publish(1, any_db)
            if connections[any_db].vendor != "sqlite":
                assert pool.submit(seen).result(60) == []
        assert pool.submit(seen).result(60) == [1]


def test_each_thread_has_a_transaction_of_its_own(any_db):
    start = threading.Barrier(4)

    def work(worker):
        try:
            start.wait(60)
            for number in range(worker * 10, worker * 10 + 10):
                with suppress(RuntimeError), transaction.atomic(using=any_db):
                    create(number, any_db)
                    if number % 2:
                        raise RuntimeError
        finally:
            connections[any_db].close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert payloads(any_db) == groups(any_db) == list(range(0, 40, 2))


def test_each_alias_commits_for_itself(make_db, any_kind):
    one, other = make_db(any_kind), make_db("sqlite")
    with (
        transaction.atomic(using=one),
        suppress(RuntimeError),
        transaction.atomic(using=other),
    ):
        publish(1, one)
        publish(2, other)
        raise RuntimeError

    assert (payloads(one), payloads(other)) == ([1], [])


class ReplicaRouter:
    """Reads go to one alias, writes to another."""

    primary = replica = ""

    def db_for_read(self, model, **hints):
        return self.replica

    def db_for_write(self, model, **hints):
        return self.primary

    def allow_relation(self, *args, **hints):
        return True


def test_an_instance_from_a_replica_is_a_key_on_the_primary(
    make_db, any_kind, settings
):
    primary = make_db(any_kind)
    # The same database under another name, as far as this test can tell.
    connections.databases["replica"] = connections.databases[primary]
    router = ReplicaRouter()
    router.primary, router.replica = primary, "replica"
    settings.DATABASE_ROUTERS = [router]
    try:
        Group.objects.create(name="1")
        group = Group.objects.get()
        assert group._state.db == "replica"
        with transaction.atomic(using=primary):
            event = publish_event("group.created", 1, key=group)
    finally:
        connections["replica"].close()
        del connections["replica"]
        del connections.databases["replica"]

    assert event.key == f"auth.group:{group.pk}"
    assert payloads(primary) == [1]


def test_without_a_router_an_instance_says_where(make_db):
    alias = make_db("sqlite")
    group = Group.objects.using(alias).create(name="1")
    with transaction.atomic(using=alias):
        publish_event("group.created", 1, key=group)

    assert payloads(alias) == [1]
