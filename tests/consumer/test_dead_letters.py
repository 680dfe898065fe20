"""Looking at dead letters, putting them back and deleting them: nothing gets lost."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from django_strangler import conf, subscribe
from django_strangler.brokers import dead_letters
from django_strangler.exceptions import BrokerError
from tests.waiting import wait_for

from .conftest import effect, effects, entries


@pytest.fixture
def db(sqlite_db, routed):
    """What is tested here is no database's business, and this one is made at once."""
    return routed(sqlite_db)


@pytest.fixture
def command(broker):
    """Run `dead_letters` and return what it prints."""

    def run(*arguments: str, **strangler: object) -> str:
        out = io.StringIO()
        given = {"BROKER_URL": broker.url, "EXCHANGE": broker.exchange, **strangler}
        with override_settings(STRANGLER=given):
            call_command(
                "dead_letters", *arguments, "--queue", broker.queue, stdout=out
            )
        return out.getvalue()

    return run


@pytest.fixture
def failing(db, broker, registry, consume):
    """Three accounts that do not exist, and one message that is no JSON."""
    working = []

    @subscribe("payment.*", name="receipts")
    def receipts(event):
        if not working:
            raise LookupError(f"no account {event.payload['n']}")
        effect(db)

    running = consume(retry_delays=())
    for n in range(3):
        broker.publish({"n": n})
    broker.publish(b"{")
    wait_for(lambda: broker.depth(".dead") == 4)
    running.finish()
    return working


def test_the_list_groups_by_error_and_leaves_everything(failing, command, broker):
    for _ in range(30):  # RabbitMQ drops what was put back 20 times, by default.
        listed = command()

    assert "3  payment.completed  failed: receipts: LookupError: no account …" in listed
    assert "1  payment.completed  unreadable: its body is not JSON" in listed
    assert wait_for(lambda: broker.depth(".dead") == 4)


def test_show_prints_a_letter_in_full(failing, command):
    shown = command("show", "--error", "no account 1")

    assert "error:     receipts: LookupError: no account 1" in shown
    assert 'body:      {"n": 1}' in shown
    assert "no account 2" not in shown


def test_requeued_letters_are_handled_as_if_never_tried(
    failing, command, broker, consume, db
):
    failing.append("it works now")

    said = command("requeue", "--error", "LookupError", "--no-input")
    consume()

    assert "3 dead letters put back" in said
    wait_for(lambda: effects(db) == 3)
    assert len(entries(db)) == 3
    assert wait_for(lambda: broker.depth(".dead") == 1)


def test_a_requeued_letter_that_fails_again_counts_anew(
    failing, command, broker, consume
):
    command("requeue", "--error", "no account 2", "--no-input")
    running = consume(retry_delays=(0.05,))
    wait_for(lambda: running.totals.dead == 1)
    running.finish()

    shown = wait_for(lambda: command("show", "--error", "no account 2"))

    assert "failed:    2 times" in shown


def test_discarded_letters_are_gone(failing, command, broker):
    said = command("discard", "--error", "unreadable", "--no-input")

    assert "1 dead letter deleted" in said
    assert wait_for(lambda: broker.depth(".dead") == 3)


def test_without_input_nobody_decides(failing, command, broker, monkeypatch):
    with pytest.raises(CommandError, match="There is no terminal to ask on"):
        command("discard", "--all")

    monkeypatch.setattr("sys.stdin", type("Tty", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert "Nothing was done" in command("discard", "--all")
    assert wait_for(lambda: broker.depth(".dead") == 4)


def test_all_of_them_have_to_be_meant(command):
    with pytest.raises(CommandError, match="Say which to requeue"):
        command("requeue")


def test_where_the_work_queue_is_gone_the_letters_stay(failing, command, broker):
    broker.channel.queue_delete(broker.queue)

    with pytest.raises(CommandError, match="There is no queue 'receipts'"):
        command("requeue", "--all", "--no-input")

    assert wait_for(lambda: broker.depth(".dead") == 4)


def test_letters_beyond_the_inbox_retention_are_warned_of(command, broker, consume, db):
    consume().finish()
    old = (datetime.now(timezone.utc) - timedelta(days=3)).isoformat()
    broker.channel.basic_publish(
        "",
        f"{broker.queue}.dead",
        b"{}",
        _properties({"strangler-published-at": old}),
    )

    assert "effects may happen TWICE" in command(INBOX_RETENTION=86400)
    assert "TWICE" not in command(INBOX_RETENTION=4 * 86400)


def test_what_other_programs_rejected_is_shown_and_requeued(
    command, broker, consume, db
):
    consume().finish()
    broker.publish()
    method, _, _ = wait_for(lambda: _got(broker.channel.basic_get(broker.queue)))
    broker.channel.basic_reject(method.delivery_tag, requeue=False)
    wait_for(lambda: broker.depth(".dead") == 1)

    assert "rejected: given up by another program" in command()
    command("requeue", "--all", "--no-input")

    assert wait_for(lambda: broker.depth() == 1)


def test_a_queue_that_does_not_exist_is_named(command):
    with pytest.raises((CommandError, BrokerError), match="cannot be read"):
        command()


def _properties(headers):
    import pika

    return pika.BasicProperties(
        message_id="0197b1a4-3c00-7000-8000-000000000001",
        type="payment.completed",
        headers=headers,
    )


def _got(answer):
    return answer if answer[0] is not None else None


def test_a_letter_stays_however_often_another_program_looks_at_it(
    db, broker, registry, consume
):
    """RabbitMQ 4 drops what came back 20 times, unless the queue says otherwise."""
    subscribe("payment.*", name="broken")(lambda event: 1 / 0)
    consume(retry_delays=())
    id = broker.publish()
    wait_for(lambda: broker.depth(".dead") == 1)

    for _ in range(25):
        method, properties, _ = wait_for(
            lambda: (
                (found := broker.channel.basic_get(f"{broker.queue}.dead"))[0] and found
            )
        )
        assert properties.message_id == id
        broker.channel.basic_nack(method.delivery_tag, requeue=True)
    wait_for(lambda: broker.depth(".dead") == 1)


def test_a_connection_that_is_lost_in_between_is_an_error_of_ours(failing, broker):
    settings = conf.Settings(broker_url=(broker.url,))
    queue = dead_letters(settings, broker.queue)
    letter = next(queue.read())
    queue._connection.close()

    for settle in (queue.requeue, queue.discard):
        with pytest.raises(BrokerError, match="connection was lost"):
            settle(letter)
    queue.close()

    assert wait_for(lambda: broker.depth(".dead") == 4)
