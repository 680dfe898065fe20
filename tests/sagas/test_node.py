"""The payments service in Node.js as a participant: the same rules, in other words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pika
import pytest
from django.db import connections, transaction
from payments.models import LedgerEntry, Payment
from users.models import User

from django_strangler.models import OutboxEvent
from django_strangler.moves.models import Gate
from django_strangler.sagas.messages import Address
from tests.end_to_end.processes import process, python
from tests.services.databases import database_url
from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.services.proxy import Proxy
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

QUEUE = "payments-commands"
AUTHORISE, VOID, CAPTURE = "payments.authorise", "payments.void", "payments.capture"
FAILED, COMPLETED = Payment.Status.FAILED, Payment.Status.COMPLETED


@dataclass
class Service:
    """The running service: what is sent to it, and what it has done."""

    url: str
    alias: str
    buyer: User
    process: subprocess.Popen[bytes]
    channel: Any
    database: Proxy  # On its way there.
    log: Path

    def send(self, type: str, to: Address, id: UUID | None = None, **data: Any) -> None:
        """One command, as a relay brings it."""
        payload = {"order": 17, "buyer": str(self.buyer.pk), "amount": "30.00"}
        self.channel.basic_publish(
            "domain-events",
            type,
            json.dumps({**payload, **data}).encode(),
            pika.BasicProperties(
                message_id=str(id or uuid4()), type=type, headers=to.headers()
            ),
        )

    def ask(self, type: str, to: Address, **data: Any) -> Any:
        """The same; what is replied."""
        before = len(self.replies())
        self.send(type, to, **data)
        return wait_for(lambda: self.replies()[before:], 90)[0].payload

    def replies(self) -> list[OutboxEvent]:
        rows = OutboxEvent.objects.using(self.alias).filter(type="saga.reply")
        return list(rows.order_by("id"))

    def waiting(self) -> int:
        """How many commands are in its queue, and not with it."""
        frame = self.channel.queue_declare(QUEUE, passive=True)
        return int(frame.method.message_count)

    def says(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.log.read_text().count(text) >= times, 60, message=text)

    def finish(self) -> None:
        """What is in its queue is done, and it has ended."""
        wait_for(lambda: self.waiting() == 0)
        self.end()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(90) == 0

    def payments(self) -> list[tuple[str, str]]:
        rows = Payment.objects.using(self.alias).order_by("id")
        return list(rows.values_list("reference", "status"))

    def booked(self) -> int:
        return LedgerEntry.objects.using(self.alias).count()


@pytest.fixture
def alias(make_db: Callable[..., str]) -> str:
    return make_db("postgresql")


def through(proxy: Proxy, alias: str) -> str:
    direct = urlsplit(database_url(alias))
    place = direct.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
    return direct._replace(netloc=place).geturl()


@pytest.fixture
def start(
    alias, vhost, payments_service, postgresql, make_proxy, tmp_path
) -> Iterator[Callable[..., Service]]:
    if vhost.prefix:
        pytest.skip("the service's queue needs a vhost of its own")
    buyer = User.objects.using(alias).create(username="ada", email="ada@example.com")
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    proxy, log = make_proxy(postgresql), tmp_path / "service.log"
    stack = contextlib.ExitStack()

    def start(**environment: str) -> Service:
        running = stack.enter_context(
            process(
                ["node", "src/main.js"],
                log,
                folder=payments_service,
                DATABASE_URL=through(proxy, alias),
                BROKER_URL=vhost.url,
                PORT=str(free_port()),
                **environment,
            )
        )

        def is_consuming() -> bool:
            assert running.poll() is None, log.read_text()
            with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                queue = connection.channel().queue_declare(QUEUE, passive=True)
                return bool(queue.method.consumer_count)
            return False

        wait_for(is_consuming, 90)
        channel = connection.channel()
        return Service(vhost.url, alias, buyer, running, channel, proxy, log)

    with stack:
        yield start
    connection.close()


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    return start()


def address(step: str = "authorise", **options: Any) -> Address:
    given = {"saga": uuid4(), "turn": 2, "attempt": 0, **options}
    return Address(step=step, **given)


def test_a_command_is_done_and_replied_to(service):
    to = address(turn=7, attempt=1).sealed("saga.reply")

    reply = service.ask(AUTHORISE, to)

    [payment] = Payment.objects.using(service.alias)
    data = {"payment": payment.pk}
    assert reply == {"outcome": "done", "data": data, "reason": ""}
    assert service.payments() == [("order-17", "pending")]
    [row] = service.replies()
    assert (row.key, Address.of(row.as_event())) == (str(to.saga), to)


def test_a_command_that_comes_again_is_done_once(service):
    to, id = address(), uuid4()
    first = service.ask(AUTHORISE, to)

    second = service.ask(AUTHORISE, to)  # A retry: another message.
    for _ in range(5):
        service.send(AUTHORISE, to, id)  # The broker brings one several times.
    wait_for(lambda: len(service.replies()) == 3, 90)
    service.finish()

    assert first == second
    assert len(service.replies()) == 3
    assert service.payments() == [("order-17", "pending")]


def test_what_was_done_is_undone_once(service):
    to = address()
    service.ask(AUTHORISE, to)

    replies = [service.ask(VOID, to), service.ask(VOID, to)]

    assert [each["outcome"] for each in replies] == ["undone", "undone"]
    assert service.payments() == [("order-17", FAILED)]
    types = OutboxEvent.objects.using(service.alias).filter(type="payment.failed")
    assert types.count() == 1


def test_an_undo_before_its_command_undoes_nothing_and_keeps_the_command_out(service):
    to = address()

    assert service.ask(VOID, to)["outcome"] == "null"
    late = service.ask(AUTHORISE, to)

    assert (late["outcome"], late["reason"]) == ("refused", "It is undone already.")
    assert service.payments() == []


def test_a_refusal_leaves_nothing_and_stays_one(service):
    to = address()

    first = service.ask(AUTHORISE, to, amount="0.00")
    second = service.ask(AUTHORISE, to, amount="30.00")

    assert first["outcome"] == second["outcome"] == "refused"
    assert "greater than or equal" in first["reason"]
    assert service.ask(VOID, to)["outcome"] == "null"
    assert service.payments() == []


def test_what_must_be_is_tried_anew_after_a_refusal(service):
    service.ask(AUTHORISE, address())
    to = address("ship", must=True)
    [row] = Payment.objects.using(service.alias)
    Payment.objects.using(service.alias).update(status=FAILED)
    assert service.ask(CAPTURE, to)["outcome"] == "refused"

    Payment.objects.using(service.alias).update(status="pending")

    assert service.ask(CAPTURE, to)["outcome"] == "done"
    assert service.ask(CAPTURE, to)["outcome"] == "done"
    row.refresh_from_db(using=service.alias)
    assert (row.status, service.booked()) == (COMPLETED, 1)


def test_what_fails_is_rolled_back_and_may_come_again(service):
    to = address("capture")

    service.send(CAPTURE, to)  # There is no such payment: trouble, and no refusal.
    service.ask(AUTHORISE, address())

    assert service.ask(CAPTURE, to)["outcome"] == "done"
    assert service.payments() == [("order-17", COMPLETED)]


def test_a_command_waits_for_a_database_that_is_away(service):
    service.ask(AUTHORISE, address())
    service.database.refuse()

    service.send(CAPTURE, address("capture"))
    service.says("waits", times=2)
    service.database.heal()

    wait_for(lambda: len(service.replies()) == 2, 60)
    assert service.payments() == [("order-17", COMPLETED)]
    service.finish()
    assert service.booked() == 1


def test_a_command_goes_back_if_its_service_ends_while_it_waits(service):
    service.database.refuse()
    service.send(AUTHORISE, address())
    service.says("waits")

    service.end()

    wait_for(lambda: service.waiting() == 1)


def test_a_command_that_costs_its_connection_lets_others_pass(service):
    service.ask(AUTHORISE, address())
    killed: set[int] = set()

    def kill_who_waits() -> bool:
        """Unlike a proxy, PostgreSQL can end one connection, in the middle of work."""
        with connections[service.alias].cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database() AND pid <> ALL(%s)",
                [list(killed)],
            )
            found = [pid for (pid,) in cursor.fetchall()]
            for pid in found:
                cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
            killed.update(found)
        return bool(found)

    with transaction.atomic(using=service.alias):
        Payment.objects.using(service.alias).select_for_update().get()
        service.send(CAPTURE, address("capture"))
        for _ in range(3):
            wait_for(kill_who_waits)
        service.says("goes back to the queue")

    wait_for(lambda: len(service.replies()) == 2, 60)
    service.finish()
    assert service.payments() == [("order-17", COMPLETED)]
    assert service.booked() == 1


def move_to(other: str, service: Service) -> None:
    Gate.objects.using(service.alias).create(move="payments", closed=True)
    Gate.objects.using(other).create(move="payments", closed=False)
    service.alias = other


def test_commands_follow_the_tables_while_users_stay(start, make_db):
    other = make_db("postgresql")
    service = start(MOVED_TO_URL=database_url(other))
    move_to(other, service)

    reply = service.ask(AUTHORISE, address())

    assert reply["outcome"] == "done"
    assert service.payments() == [("order-17", "pending")]


def test_it_begins_while_a_database_is_away(start, make_db, make_proxy, postgresql):
    other, proxy = make_db("postgresql"), make_proxy(postgresql)
    proxy.refuse()
    service = start(MOVED_TO_URL=through(proxy, other))
    assert service.ask(AUTHORISE, address())["outcome"] == "done"

    proxy.heal()
    move_to(other, service)

    assert service.ask(AUTHORISE, address(), order=18)["outcome"] == "done"
    assert service.payments() == [("order-18", "pending")]


def test_an_order_over_the_monolith_and_the_service(service, tmp_path):
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.sagas.shop_settings",
        "DATABASE_URL": database_url(service.alias),
        "BROKER_URL": service.url,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
    }

    def run(code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{code}"],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    ours = ["shop-orders", "strangler-sagas-announcements"]
    ours += ["strangler-sagas-replies", "strangler-sagas-timeouts"]
    others = ("saga-stock-stock.reserve", "saga-shipping-shipping.book")
    consume = python("-m", "django", "consume_events", "--queue", "monolith")
    consume += ["--subscribers", *ours, *others]
    relay = python("-m", "django", "drain_outbox")
    run(
        "from django.core.management import call_command\n"
        "call_command('migrate', 'shop', verbosity=0)\n"
        "from shop.models import Item\n"
        "Item.objects.create(name='book', left=5)"
    )
    order = (
        "from shop.services import place\n"
        "place(item='book', count=2, buyer='{}', amount='{}')"
    )
    run(order.format(service.buyer.pk, "30.00"))
    run(order.format(service.buyer.pk, "20000.00"))  # More than the buyer may pay.

    def ended() -> list[str]:
        found = run(
            "from shop.models import Order\n"
            "for order in Order.objects.order_by('id'): print(order.status)"
        ).split()
        return found if "pending" not in found else []

    with (
        process(consume, tmp_path / "consumer.log", **environment),
        process(relay, tmp_path / "relay.log", **environment),
    ):
        assert wait_for(ended, 180, interval=0.5) == ["confirmed", "cancelled"]
    left = run("from shop.models import Item\nprint(Item.objects.get().left)")
    assert left.strip() == "3"
    assert service.payments() == [("order-1", COMPLETED)]
    assert service.booked() == 1
