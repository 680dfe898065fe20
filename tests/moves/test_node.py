"""The payments service in Node.js keeps a copy of the monolith's users."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from django.db import connections, router
from users.models import KycCheck, User

from django_strangler.models import OutboxEvent
from django_strangler.moves import capturer
from django_strangler.moves.capturer import Capturer
from django_strangler.moves.capturing import Capture, captures
from tests.end_to_end.processes import process
from tests.services.databases import database_url
from tests.services.ports import free_port
from tests.waiting import wait_for

from .conftest import run

pytestmark = pytest.mark.slow

QUEUE = "payments-copies"
CAPTURES = dict(captures)  # Of the test project; a test begins without any.


class Monolith:
    """Its users, and what is captured of them."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.captures: list[Capture] = [
            dataclasses.replace(CAPTURES[name], source=alias)
            for name in ("users", "identity-checks")
        ]

    def events(self) -> list[OutboxEvent]:
        """What is told of since this was asked last."""
        for each in self.captures:
            worker = Capturer(each)
            while capturer.status(each).stage != "following" or worker._follow():
                worker.step()
        rows = OutboxEvent.objects.using(self.alias)
        found = list(rows.order_by("id"))
        rows.all().delete()
        return found

    def users(self) -> list[tuple[Any, ...]]:
        rows = User.objects.using(self.alias).order_by("id")
        return list(rows.values_list("id", "is_active"))

    def checks(self) -> list[tuple[Any, ...]]:
        rows = KycCheck.objects.using(self.alias).order_by("id")
        return list(rows.values_list("id", "user_id", "status"))


class Service:
    """The running service, with a database of its own."""

    def __init__(self, alias: str, port: int, url: str, log: Path) -> None:
        self.alias, self.port, self.log = alias, port, log
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self._connection.channel()

    def send(self, events: list[OutboxEvent]) -> None:
        for each in events:
            self.channel.basic_publish(
                "domain-events",
                each.type,
                each.body.encode(),
                pika.BasicProperties(message_id=str(each.event_id), type=each.type),
            )

    def has(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(
                f"SELECT id, {columns} FROM {table} "
                f"WHERE {columns.partition(',')[0]} IS NOT NULL ORDER BY id"
            )
            return cursor.fetchall()

    def is_like(self, monolith: Monolith) -> bool:
        return (
            self.has("payments_service_user", "is_active") == monolith.users()
            and self.has("payments_service_check", "user_id, status")
            == monolith.checks()
        )

    def pay(self, user: int, amount: str) -> int:
        """The status of the answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/payments/",
            json.dumps({"user": user, "amount": amount, "currency": "EUR"}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def monolith(make_db: Callable[..., str], monkeypatch) -> Monolith:
    alias = make_db("postgresql")
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
    monolith = Monolith(alias)
    for each in monolith.captures:
        capturer.begin(each)
    return monolith


@pytest.fixture
def service(make_db, vhost, payments_service, tmp_path: Path) -> Iterator[Service]:
    if vhost.prefix:
        pytest.skip("the service's queue needs a vhost of its own")
    alias, port = make_db("postgresql"), free_port()
    log = tmp_path / "service.log"
    with process(
        ["node", "src/main.js"],
        log,
        folder=payments_service,
        DATABASE_URL=database_url(alias),
        BROKER_URL=vhost.url,
        COPIES="1",
        PORT=str(port),
    ) as running:
        service = Service(alias, port, vhost.url, log)

        def is_consuming() -> bool:
            assert running.poll() is None, log.read_text()
            with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                channel = service._connection.channel()
                queue = channel.queue_declare(QUEUE, passive=True)
                return bool(queue.method.consumer_count)
            return False

        wait_for(is_consuming)
        yield service
        service.close()


def test_the_service_keeps_a_copy_of_users_whatever_comes_late_or_twice(
    monolith, service
):
    users = User.objects.using(monolith.alias)
    for number in range(8):
        user = users.create(username=f"u{number}")
        KycCheck.objects.using(monolith.alias).create(user=user, status="passed")
    told = monolith.events()
    run(monolith.alias, "UPDATE users_user SET is_active = (id % 2 = 0)")
    run(monolith.alias, "UPDATE users_kyccheck SET status = 'refused' WHERE id % 3 = 0")
    told += monolith.events()
    gone = users.order_by("id").last()
    gone.delete()  # With its checks.
    told += monolith.events()
    assert len(told) > 20
    again = [*told, *told[::3]]
    random.Random(5).shuffle(again)

    service.send(again)

    wait_for(lambda: service.is_like(monolith))
    assert len(monolith.users()) == 7


def test_who_may_pay_is_asked_of_the_copy(monolith, service):
    ada = User.objects.using(monolith.alias).create(pk=71, username="ada")
    assert service.pay(71, "10.00") == 400  # Nobody has told of her yet.
    service.send(monolith.events())
    wait_for(lambda: service.is_like(monolith))
    assert service.pay(71, "10.00") == 201
    assert service.pay(71, "10000.01") == 400

    KycCheck.objects.using(monolith.alias).create(user=ada, status="passed")
    service.send(monolith.events())
    wait_for(lambda: service.is_like(monolith))
    assert service.pay(71, "10000.01") == 201

    User.objects.using(monolith.alias).filter(pk=71).update(is_active=False)
    service.send(monolith.events())
    wait_for(lambda: service.is_like(monolith))
    assert service.pay(71, "10.00") == 400


def test_an_event_is_kept_whatever_error_the_database_has(monolith, service):
    User.objects.using(monolith.alias).create(username="ada")
    run(service.alias, "ALTER TABLE payments_service_user RENAME TO elsewhere")

    service.send(monolith.events())
    wait_for(lambda: "waits" in service.log.read_text())
    run(service.alias, "ALTER TABLE elsewhere RENAME TO payments_service_user")

    wait_for(lambda: service.is_like(monolith))
