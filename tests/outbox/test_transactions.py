from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.base import BaseHandler
from django.db import connection, connections, transaction
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import RequestFactory, TestCase, TransactionTestCase

from django_strangler import publish_event, publish_events
from django_strangler.databases import application_transaction_is_open
from django_strangler.events import Event
from django_strangler.exceptions import OutsideTransaction
from django_strangler.models import OutboxEvent


def publish(using=None):
    return publish_event("payment.completed", {"paymentId": 1}, using=using)


def refused():
    return pytest.raises(OutsideTransaction, match=r"transaction\.atomic\(")


class TestCaseTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        with refused():
            publish()
        with transaction.atomic():
            publish()

    def test_its_own_transaction_does_not_count(self):
        with refused():
            publish()
        with refused():
            publish_events([Event(type="a.b", payload={})])
        assert not application_transaction_is_open(connection)

    def test_atomic_inside_counts(self):
        with transaction.atomic():
            publish()
        with transaction.atomic(savepoint=False):
            publish()
        with transaction.atomic(durable=True):
            publish()

        assert OutboxEvent.objects.count() == 4

    def test_atomic_that_is_over_does_not_count(self):
        with transaction.atomic():
            pass
        with refused():
            publish()


class TransactionTestCaseTests(TransactionTestCase):
    def test_without_atomic_it_is_refused(self):
        with refused():
            publish()

    def test_with_atomic_it_is_published(self):
        with transaction.atomic():
            publish()

        assert OutboxEvent.objects.count() == 1


@pytest.mark.django_db
def test_the_db_fixture_does_not_count():
    with refused():
        publish()
    with transaction.atomic():
        publish()


@pytest.mark.django_db(transaction=True)
def test_transactional_db_does_not_count():
    with refused():
        publish()
    with transaction.atomic():
        publish()


@pytest.mark.django_db
def test_with_atomic_requests_a_missing_one_is_found_in_a_test(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    with refused():  # As a task that is called by a test.
        publish()


@pytest.mark.django_db
def test_a_test_is_told_that_its_own_transaction_does_not_count():
    with pytest.raises(OutsideTransaction) as raised:
        publish()

    assert "the transaction that a TestCase puts around each test" in str(raised.value)
    assert "autocommit_allowed()" in str(raised.value)


@pytest.mark.django_db(transaction=True)
def test_a_receiver_of_a_signal_is_told_that_the_commit_is_over():
    order_placed = Signal()
    order_placed.connect(lambda **kwargs: publish(), weak=False)

    with transaction.atomic():
        pass
    with pytest.raises(OutsideTransaction, match="that signal was sent after"):
        order_placed.send(sender=None)


@pytest.mark.django_db(transaction=True)
def test_atomic_requests_alone_opens_none(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    with refused():  # As in a management command.
        publish()

    def view(request):
        publish()
        return HttpResponse()

    handler = BaseHandler()
    handler.make_view_atomic(view)(RequestFactory().get("/"))
    assert OutboxEvent.objects.count() == 1


def test_another_alias_s_transaction_does_not_count(make_db):
    one, other = make_db("sqlite"), make_db("sqlite")
    with transaction.atomic(using=one), pytest.raises(OutsideTransaction) as raised:
        publish(other)
    # To open another one there would lose the guarantee, so nobody is told to.
    assert "Two databases cannot commit together" in str(raised.value)
    assert f"pass using={one!r}" in str(raised.value)

    with transaction.atomic(using=one), transaction.atomic(using=other):
        publish(other)
    assert OutboxEvent.objects.using(other).count() == 1
    assert OutboxEvent.objects.using(one).count() == 0


def test_a_manual_transaction_counts(any_db):
    transaction.set_autocommit(False, using=any_db)
    try:
        publish(any_db)
        transaction.rollback(using=any_db)
        publish(any_db)
        transaction.commit(using=any_db)
    finally:
        transaction.set_autocommit(True, using=any_db)

    assert OutboxEvent.objects.using(any_db).count() == 1


def test_it_can_be_switched_off(settings, any_db_rolled_back):
    settings.STRANGLER = {"REQUIRE_TRANSACTION": False}

    publish(any_db_rolled_back)
    publish_events(
        [Event(type="a.b", payload=n) for n in range(3)], using=any_db_rolled_back
    )
    publish_event("a.b", 1, idempotency_key="k", using=any_db_rolled_back)
    publish_event("a.b", 1, idempotency_key="k", using=any_db_rolled_back)

    assert OutboxEvent.objects.using(any_db_rolled_back).count() == 5


def test_a_closed_connection_has_no_transaction(sqlite_db):
    connections[sqlite_db].close()

    with refused():
        publish(sqlite_db)


def test_async_code_is_told_what_to_do(sqlite_db):
    async def view():
        publish(sqlite_db)

    with pytest.raises(OutsideTransaction, match="sync_to_async"):
        asyncio.run(view())


def test_sync_to_async_carries_change_and_event(any_db):
    def change(fails):
        try:
            with transaction.atomic(using=any_db):
                publish(any_db)
                if fails:
                    raise RuntimeError
        finally:
            # asgiref keeps this thread, and it would keep this test's database.
            connections[any_db].close()
            del connections[any_db]

    async def view(fails):
        await sync_to_async(change)(fails)

    with pytest.raises(RuntimeError):
        asyncio.run(view(fails=True))
    assert OutboxEvent.objects.using(any_db).count() == 0

    asyncio.run(view(fails=False))
    assert OutboxEvent.objects.using(any_db).count() == 1


def test_a_broken_transaction_says_so_itself(any_db_rolled_back):
    with transaction.atomic(using=any_db_rolled_back):
        transaction.set_rollback(True, using=any_db_rolled_back)
        with pytest.raises(transaction.TransactionManagementError):
            publish(any_db_rolled_back)
