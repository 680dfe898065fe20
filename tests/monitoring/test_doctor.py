"""The doctor: each set-up that is broken is named, with the line that mends it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pika
import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from django_strangler import feature_flags
from django_strangler.inbox.subscribers import Subscriber
from django_strangler.monitoring import state as state_module
from django_strangler.monitoring.doctor import Diagnosis, Doctor
from tests.brokers.rabbit import with_options
from tests.inbox.conftest import registry
from tests.monitoring.factories import add, add_consumer, add_relay, fill
from tests.relay.processes import environment
from tests.services.ports import free_port

__all__ = ["registry"]

Examine = Callable[..., list[Diagnosis]]


@pytest.fixture
def examine(routed, registry) -> Examine:
    """examine(alias, BROKER_URL=…): what the doctor says, without subscribers."""

    def run(alias: str, *, management: str = "", **strangler: Any) -> list[Diagnosis]:
        routed(alias)
        with override_settings(STRANGLER=strangler):
            return list(Doctor(alias, management=management).examine())

    return run


def troubles(found: list[Diagnosis]) -> list[tuple[str, str, str]]:
    return [(it.part, it.what, it.todo) for it in found if it.level == "trouble"]


def only_trouble(found: list[Diagnosis]) -> tuple[str, str, str]:
    given = troubles(found)
    assert len(given) == 1, given
    return given[0]


@pytest.fixture
def sound(sqlite_db) -> str:
    add_relay(sqlite_db)
    return sqlite_db


@pytest.fixture
def each_sound(any_db) -> str:
    add_relay(any_db)
    return any_db


def test_a_sound_set_up_is_fine_in_every_part(each_sound, examine):
    found = examine(each_sound)

    assert not troubles(found)
    assert {it.part for it in found if it.level == "fine"} == {
        "settings",
        "database",
        "broker",
        "clocks",
        "relays",
        "flags",
    }


# Settings


def test_a_wrong_setting(sqlite_db, examine):
    add_relay(sqlite_db)

    part, what, _ = only_trouble(examine(sqlite_db, RETENTON=5))

    assert part == "settings"
    assert "unknown key 'RETENTON'. Did you mean 'RETENTION'?" in what


def test_sqlite_that_cannot_have_two_writers(make_db, examine, tmp_path):
    alias = make_db("sqlite", transaction_mode="DEFERRED")
    add_relay(alias)

    part, what, todo = only_trouble(examine(alias))

    assert (part, "database is locked" in what) == ("settings", True)
    assert '"transaction_mode": "IMMEDIATE"' in todo


# The database


def test_migrations_that_are_missing(sqlite_db, examine):
    call_command("migrate", "strangler", "0002", database=sqlite_db, verbosity=0)

    found = troubles(examine(sqlite_db))

    assert (
        "database",
        "Migrations are missing: 0003_inbox, 0004_permissions",
        f"manage.py migrate strangler --database {sqlite_db}",
    ) in found


def test_an_index_that_is_missing(each_sound, examine):
    on = (
        " ON strangler_outboxevent" if connections[each_sound].vendor == "mysql" else ""
    )
    with connections[each_sound].cursor() as cursor:
        cursor.execute(f"DROP INDEX strangler_outbox_queue{on}")

    part, what, todo = only_trouble(examine(each_sound))

    assert (part, "strangler_outbox_queue is missing" in what) == ("database", True)
    with connections[each_sound].cursor() as cursor:
        cursor.execute(todo)
    assert not troubles(examine(each_sound))


@pytest.mark.parametrize(
    ("vendor", "level"), [("postgresql", 3), ("mariadb", "repeatable read")]
)
def test_an_isolation_that_fails_publishers(make_db, examine, vendor, level):
    alias = make_db(vendor, isolation_level=level)
    add_relay(alias)

    part, what, todo = only_trouble(examine(alias))

    assert (part, "Transactions are REPEATABLE READ" in what) == ("database", True)
    assert '"read committed"' in todo


def test_statistics_that_mislead_the_planner(postgresql_db, examine):
    add_relay(postgresql_db)
    fill(postgresql_db, confirmed=12_000)
    with connections[postgresql_db].cursor() as cursor:
        # As if everything were pending.
        cursor.execute("ALTER TABLE strangler_outboxevent SET (autovacuum_enabled=off)")
        cursor.execute("SET enable_indexscan = off")
        cursor.execute("SET enable_bitmapscan = off")
        cursor.execute("SET enable_indexonlyscan = off")
        doctor = Doctor(postgresql_db)
        (finding,) = doctor._index()

    assert finding.level == "trouble"
    assert finding.todo == "ANALYZE strangler_outboxevent;"


def test_a_sequence_that_hands_out_ids_in_advance(postgresql_db, examine):
    add_relay(postgresql_db)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute("ALTER SEQUENCE strangler_outboxevent_id_seq CACHE 20")

    part, what, todo = only_trouble(examine(postgresql_db))

    assert (part, "hands each session 20 ids at once" in what) == ("database", True)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(todo)
    assert not troubles(examine(postgresql_db))


def test_ids_in_steps(make_db, examine):
    alias = make_db("mariadb", init_command="SET auto_increment_increment = 3")
    add_relay(alias)

    part, what, _ = only_trouble(examine(alias))

    assert (part, "in steps of 3" in what) == ("database", True)


def test_a_pooler_that_swallows_notify(pooled_db, examine):
    add_relay(pooled_db)

    part, what, todo = only_trouble(examine(pooled_db))

    assert (part, "LISTEN hears nothing" in what) == ("database", True)
    assert "STRANGLER['NOTIFY'] to False" in todo
    assert not troubles(examine(pooled_db, NOTIFY=False))


# The broker


@pytest.fixture
def rabbit(vhost, postgresql_db) -> dict[str, str]:
    """Settings of a sound RabbitMQ: an exchange, and a queue for payments."""
    if vhost.prefix:
        pytest.skip("the doctor's rabbit needs a vhost of its own")
    add_relay(postgresql_db)
    with Side(vhost.url) as channel:
        channel.exchange_declare("domain-events", "topic", durable=True)
        channel.queue_declare("payments", durable=True)
        channel.queue_bind("payments", "domain-events", "payment.*")
    return {"BROKER_URL": vhost.url}


class Side:
    """RabbitMQ, as its administrator."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))

    def __enter__(self) -> Any:
        return self._connection.channel()

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def test_a_sound_rabbitmq_and_what_cannot_be_seen_of_it(rabbit, postgresql_db, examine):
    nowhere = f"http://127.0.0.1:{free_port()}"

    found = examine(postgresql_db, management=nowhere, **rabbit)

    assert not troubles(found)
    text = "\n".join(it.what for it in found if it.part == "broker")
    assert "answers: RabbitMQ" in text
    assert "'domain-events' is durable and of type topic" in text
    assert "may write to the exchange" in text
    assert "has no alarm" in text
    (unseen,) = [it for it in found if it.level == "unknown"]
    assert "Bindings cannot be seen" in unseen.what
    with Side(rabbit["BROKER_URL"]) as channel:
        queue = channel.queue_declare("payments", passive=True)
        assert queue.method.message_count == 0


def test_a_broker_that_is_not_there(postgresql_db, examine):
    add_relay(postgresql_db)
    url = f"amqp://relay:secret@127.0.0.1:{free_port()}/"

    found = examine(postgresql_db, BROKER_URL=url)

    part, what, _ = only_trouble(found)
    assert (part, "cannot be reached" in what) == ("broker", True)
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
        unseen = "\n".join(it.what for it in found if it.level == "unknown")
        assert "its type cannot be seen" in unseen
        assert "has an alarm cannot be seen" in unseen
    finally:
        rabbitmq.ctl("delete_user", user)


def test_an_alarm(private_rabbitmq, private_vhost, postgresql_db, examine):
    add_relay(postgresql_db)
    with Side(private_vhost.url) as channel:
        channel.exchange_declare("domain-events", "topic", durable=True)
    private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        found = examine(postgresql_db, BROKER_URL=private_vhost.url)
    finally:
        private_rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")

    part, what, todo = only_trouble(found)
    assert (part, "is blocked: low on memory" in what) == ("broker", True)
    assert "rabbitmq-diagnostics alarms" in todo


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
        assert not [it for it in found if it.level == "unknown"]
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

    assert (part, "1 events 'user.created' are parked" in what) == ("broker", True)
    assert todo.endswith("replay_events --unroutable --type user.created")


def test_a_broker_for_tests_in_production(sound, examine):
    part, what, _ = only_trouble(examine(sound, BROKER_URL="memory://"))

    assert (part, "forgets every event" in what) == ("broker", True)


# Clocks, processes, flags


def test_clocks_that_disagree(sound, examine, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, zone):
            return datetime.now(zone) + timedelta(seconds=420)

    monkeypatch.setattr(state_module, "datetime", Ahead)

    part, what, todo = only_trouble(examine(sound))

    assert (part, "420.0 s ahead" in what) == ("clocks", True)
    assert "set-ntp" in todo


def test_a_relay_that_died(sqlite_db, examine):
    add_relay(sqlite_db, left=-7200)

    assert only_trouble(examine(sqlite_db)) == (
        "relays",
        "The relay web-1:17 died, 2 h ago",
        "Start one: manage.py drain_outbox",
    )


def test_a_consumer_that_is_missing_or_older_than_the_code(
    rabbit, postgresql_db, examine, registry
):
    def handler(event):
        """Nothing."""

    def subscriber(name: str, pattern: str) -> Subscriber:
        return Subscriber(name=name, patterns=(pattern,), flag=None, handler=handler)

    add_consumer(postgresql_db, left=-60)
    registry.add(subscriber("receipts", "payment.*"))
    part, what, todo = only_trouble(examine(postgresql_db, **rabbit))
    assert (part, todo) == ("consumers", "manage.py consume_events --queue NAME")
    assert "bound for payment.*" in what

    add_consumer(postgresql_db)
    assert not troubles(examine(postgresql_db, **rabbit))

    registry.add(subscriber("greetings", "user.*"))
    _, what, todo = only_trouble(examine(postgresql_db, **rabbit))
    assert "bound for user.*, which the subscriber 'greetings' wants" in what
    assert todo == "manage.py consume_events --queue receipts (start it anew)"


def test_a_flag_that_does_not_exist(sound, examine, registry):
    registry.add(
        Subscriber(
            name="mails", patterns=("a.*",), flag="mails-v2", handler=lambda event: None
        )
    )

    part, what, todo = only_trouble(examine(sound))

    assert (part, "'mails-v2', which does not exist" in what) == ("flags", True)
    assert todo == "manage.py flag set mails-v2 0"
    feature_flags.set_rollout("mails-v2", 0)
    assert not troubles(examine(sound))


# The command


def test_the_command_says_it_in_lines_or_in_json(sqlite_db, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", "strangler_doctor", *arguments],
            env={**environment(sqlite_db, tmp_path), "BROKER_URL": "local://"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    lines = run()
    assert lines.returncode == 1
    assert "TROUBLE relays    No relay was ever seen.\n" in lines.stdout
    assert "-> Start one: manage.py drain_outbox\n" in lines.stdout
    assert not lines.stderr

    found = json.loads(run("--json").stdout)
    assert found["ok"] is False
    assert {"part", "level", "what", "todo"} == set(found["findings"][0])


def test_all_well_exits_with_0(sound, examine, routed, registry):
    routed(sound)
    out = StringIO()

    call_command("strangler_doctor", "--database", sound, stdout=out)

    assert out.getvalue().endswith("All is well.\n")


def test_what_fails_spoils_only_its_part(sqlite_db, examine):
    add_relay(sqlite_db)
    with connections[sqlite_db].cursor() as cursor:
        cursor.execute("DROP TABLE strangler_flag")

    part, what, _ = only_trouble(examine(sqlite_db))

    assert (part, "no such table" in what) == ("flags", True)
