"""A RabbitMQ that is away, or that would lose events, or hide that it does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from django_strangler.brokers.rabbitmq import management
from django_strangler.brokers.rabbitmq.urls import parse
from tests.brokers.rabbit import with_options
from tests.monitoring.factories import add, add_relay
from tests.services.ports import free_port

from .conftest import Side, only_trouble, troubles


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However late a busy broker's management API answers."""
    monkeypatch.setattr(management, "PATIENCE", 60.0)


def test_a_sound_rabbitmq_and_what_cannot_be_seen_of_it(rabbit, postgresql_db, examine):
    nowhere = f"http://127.0.0.1:{free_port()}"

    found = examine(postgresql_db, management=nowhere, **rabbit)

    assert not troubles(found)
    text = "\n".join(it.what for it in found if it.part == "broker")
    assert "answers: RabbitMQ" in text
    assert "'domain-events' is durable and of type topic" in text
    assert "may write to the exchange" in text
    (unseen,) = [it for it in found if it.level.value == "unknown"]
    assert "Bindings cannot be seen" in unseen.what
    with Side(rabbit["BROKER_URL"]) as channel:
        queue = channel.queue_declare("payments", passive=True)
        assert queue.method.message_count == 0


def test_a_broker_that_is_not_there(postgresql_db, examine):
    add_relay(postgresql_db)
    url = f"amqp://relay:secret@127.0.0.1:{free_port()}/"

    found = examine(postgresql_db, BROKER_URL=url)

    part, what, todo = only_trouble(found)
    assert (part, "cannot be reached" in what) == ("broker", True)
    assert todo == "Start it, or correct STRANGLER['BROKER_URL']."
    assert "secret" not in str(found)


def test_a_login_that_is_refused(rabbit, postgresql_db, examine):
    url = with_options(rabbit["BROKER_URL"], password="wrong")

    part, what, todo = only_trouble(examine(postgresql_db, BROKER_URL=url))

    assert (part, "refuses the login" in what) == ("broker", True)
    assert "Correct user and password" in todo


@pytest.mark.parametrize("kind", ["fanout", None])
def test_an_exchange_that_is_of_another_type_or_missing(
    rabbit, postgresql_db, examine, kind
):
    with Side(rabbit["BROKER_URL"]) as channel:
        channel.exchange_delete("domain-events")
        if kind:
            channel.exchange_declare("domain-events", kind, durable=True)

    part, what, todo = only_trouble(examine(postgresql_db, **rabbit))

    assert part == "broker"
    assert ("not durable and of type topic" if kind else "does not exist") in what
    assert "STRANGLER['EXCHANGE']" in todo if kind else "Create it" in todo


def test_a_user_that_may_not_publish(rabbit, rabbitmq, postgresql_db, examine):
    vhost = rabbit["BROKER_URL"].rpartition("/")[2]
    user = f"reader-{free_port()}"
    rabbitmq.ctl("add_user", user, "secret")
    try:
        rabbitmq.ctl("set_permissions", "-p", vhost, user, "", "", ".*")
        url = with_options(rabbit["BROKER_URL"], user=user, password="secret")
        part, what, todo = only_trouble(examine(postgresql_db, BROKER_URL=url))

        assert (part, "may not write to the exchange" in what) == ("broker", True)
        assert todo == (
            "Put ^domain-events$ into its write permission; see: rabbitmqctl "
            f"list_user_permissions {user}"
        )
        rabbitmq.ctl("set_permissions", "-p", vhost, user, "", "^domain-events$", ".*")
        found = examine(postgresql_db, BROKER_URL=url)
        assert not troubles(found)
        unseen = "\n".join(it.what for it in found if it.level.value == "unknown")
        assert "its type cannot be seen" in unseen
    finally:
        rabbitmq.ctl("delete_user", user)


@pytest.fixture
def no_http() -> Iterator[int]:
    """The port of somebody who speaks something else."""

    def answer() -> None:
        with suppress(OSError):
            while True:
                line, _ = server.accept()
                with line:
                    line.recv(1024)
                    line.sendall(b"AMQP\x00\x00\x09\x01")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{port}", "no HTTP: "),
        ("http://relay:sec/ret@127.0.0.1:15672", "--management is not a URL"),
        ("rabbit-1:15672", "--management is not a URL"),
        ("http://[rabbit-1", "--management is not a URL"),
    ],
)
def test_a_management_api_that_is_none(
    rabbit, no_http, postgresql_db, examine, url, said
):
    management = url.format(port=no_http)

    found = examine(postgresql_db, management=management, **rabbit)

    assert not troubles(found)
    (unseen,) = [it for it in found if it.level.value == "unknown"]
    assert "Bindings cannot be seen" in unseen.what
    assert said in unseen.what
    assert "sec" not in unseen.what


def test_a_management_user_whose_password_is_encoded(
    private_rabbitmq, private_vhost, postgresql_db, examine
):
    add_relay(postgresql_db)
    with Side(private_vhost.url) as channel:
        channel.exchange_declare("domain-events", "topic", durable=True)
    vhost = private_vhost.url.rpartition("/")[2]
    private_rabbitmq.ctl("add_user", "on/call", "p@ss")
    private_rabbitmq.ctl("set_user_tags", "on/call", "monitoring")
    private_rabbitmq.ctl("set_permissions", "-p", vhost, "on/call", "", "", ".*")
    _, _, place = private_rabbitmq.management_url.rpartition("://")
    place = place.rpartition("@")[2]
    settings = {"BROKER_URL": private_vhost.url}

    management = f"http://on%2Fcall:p%40ss@{place}"
    found = examine(postgresql_db, management=management, **settings)

    assert not [it for it in found if it.level.value == "unknown"]


def test_the_management_api_beside_a_node_with_an_ipv6_address():
    api = management._Management(parse("amqp://[::1]/"), "")

    assert api.base == "http://[::1]:15672"


def test_bindings_that_are_missing_or_hide_that(
    private_rabbitmq, private_vhost, postgresql_db, examine
):
    add_relay(postgresql_db)
    for type in ("payment.completed", "user.created"):
        add(postgresql_db, type=type)
    settings = {"BROKER_URL": private_vhost.url}
    management = private_rabbitmq.management_url

    def seen() -> list[str]:
        found = examine(postgresql_db, management=management, **settings)
        assert not [it for it in found if it.level.value == "unknown"]
        return [what for _, what, _ in troubles(found)]

    with Side(private_vhost.url) as channel:
        channel.exchange_declare("domain-events", "topic", durable=True)
        channel.queue_declare("payments", durable=True)
        channel.queue_bind("payments", "domain-events", "payment.*")
        assert seen() == ["No queue is bound for 'user.created'"]

        channel.queue_declare("debug", durable=True)
        channel.queue_bind("debug", "domain-events", "#")
        (hidden,) = seen()
        assert "'user.created' goes only to debug, bound for '#'" in hidden

        channel.queue_bind("payments", "domain-events", "user.*")
        assert seen() == []

        channel.exchange_delete("domain-events")
        channel.exchange_declare(
            "domain-events",
            "topic",
            durable=True,
            arguments={"alternate-exchange": "amq.fanout"},
        )
        channel.queue_bind("payments", "domain-events", "*.*")
        assert all("has an alternate exchange" in each for each in seen())


def test_an_alternate_exchange_is_seen_without_the_management_api(
    rabbit, postgresql_db, examine
):
    with Side(rabbit["BROKER_URL"]) as channel:
        channel.exchange_delete("domain-events")
        arguments = {"alternate-exchange": "amq.fanout"}
        channel.exchange_declare(
            "domain-events", "topic", durable=True, arguments=arguments
        )

    part, what, _ = only_trouble(examine(postgresql_db, **rabbit))

    assert (part, "has an alternate exchange" in what) == ("broker", True)


def test_events_that_were_unroutable(sound, examine):
    add(sound, parked=7200, parked_reason="unroutable", type="user.created")

    part, what, todo = only_trouble(examine(sound))

    assert (part, "1 event is parked of type 'user." in what) == ("broker", True)
    assert todo.endswith("replay_events --unroutable --type user.created")


def test_a_broker_for_tests_in_production(sound, examine):
    part, what, _ = only_trouble(examine(sound, BROKER_URL="memory://"))

    assert (part, "forgets every event" in what) == ("broker", True)
