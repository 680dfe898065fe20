"""Dead letters in the admin: counted, explained, requeued, discarded."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from types import SimpleNamespace
from urllib.parse import urlencode

import pika
import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from django_strangler import conf
from django_strangler.clock import DatabaseNow
from django_strangler.models import ConsumerProcess
from django_strangler.monitoring import letters
from tests.waiting import wait_for

from .conftest import DASHBOARD, page_of, text

pytestmark = pytest.mark.django_db
PAGE = "admin:strangler_outboxevent_letters"
ERROR = "ledger: ValueError: no account 42"


class Queue:
    """A work queue and its dead letters, with what a consumer leaves there."""

    def __init__(self, channel, name: str) -> None:
        self.channel, self.name = channel, name
        for each in (name, f"{name}.dead"):
            channel.queue_declare(each)

    def bury(self, id: str, error: str) -> None:
        now = datetime.now(timezone.utc).isoformat()
        headers = {
            "strangler-failed-times": 3,
            "strangler-failed-first": now,
            "strangler-failed-last": now,
            "strangler-failed-reason": "failed",
            "strangler-failed-error": error,
        }
        properties = pika.BasicProperties(
            message_id=id, type="payment.completed", headers=headers
        )
        self.channel.basic_publish("", f"{self.name}.dead", b"{}", properties)

    def depth(self, suffix: str = "") -> int:
        found = self.channel.queue_declare(f"{self.name}{suffix}", passive=True)
        return int(found.method.message_count)


@pytest.fixture
def queue(vhost, settings, monkeypatch):
    # However late a busy broker answers.
    counts = partial(letters.Look().counts, patience=60.0)
    monkeypatch.setattr(letters, "counts", counts)
    monkeypatch.setattr(letters, "of_event", partial(letters.of_event, patience=60.0))
    settings.STRANGLER = {"BROKER_URL": vhost.url}
    connection = pika.BlockingConnection(pika.URLParameters(vhost.url))
    queue = Queue(connection.channel(), vhost.own("bank"))
    ConsumerProcess.objects.create(
        name="web-1:7", queue=queue.name, expires_at=DatabaseNow(25)
    )
    yield queue
    connection.close()


def group(queue: Queue, act: str) -> str:
    kind = "ledger: ValueError: no account …"
    query = {"queue": queue.name, "act": act, "reason": "failed"}
    return f"{reverse(PAGE)}?" + urlencode(
        {**query, "type": "payment.completed", "kind": kind}
    )


def test_they_are_counted_explained_and_put_back(queue, handled, admin_client):
    queue.bury(str(handled.event_id), ERROR)
    queue.bury("0197a2f4-7a9a-7000-8000-000000000001", "mail: OSError: refused")
    wait_for(lambda: queue.depth(".dead") == 2)

    page = text(admin_client.get(DASHBOARD))
    assert f"2 dead letters are in the queue &#x27;{queue.name}&#x27;" in page
    assert reverse(PAGE) in page
    assert ERROR in text(admin_client.get(page_of(handled)))
    found = text(admin_client.get(reverse(PAGE), {"queue": queue.name}))
    assert ERROR in found
    assert "mail: OSError: refused" in found

    asked = admin_client.get(group(queue, "requeue"))
    assert "Requeue 1 dead letter of" in text(asked)
    admin_client.post(group(queue, "requeue"), asked.context["hidden"])

    wait_for(lambda: queue.depth() == 1)
    wait_for(lambda: queue.depth(".dead") == 1)
    assert LogEntry.objects.get().change_message.startswith("requeue: 1 dead letter")


def test_they_are_put_back_in_a_project_without_time_zones(
    queue, admin_client, settings
):
    queue.bury("0197a2f4-7a9a-7000-8000-000000000001", ERROR)
    wait_for(lambda: queue.depth(".dead") == 1)
    settings.USE_TZ = False

    asked = admin_client.get(group(queue, "requeue"))
    admin_client.post(group(queue, "requeue"), asked.context["hidden"])

    wait_for(lambda: queue.depth() == 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whoever_waits_for_a_count_that_fails_is_told(monkeypatch):
    def fail(*given):
        raise RuntimeError("A bug.")

    broker = SimpleNamespace(dead_letters=SimpleNamespace(counts=fail))
    monkeypatch.setattr(letters, "broker_class", lambda urls: broker)
    look = letters.Look()

    assert look.counts(["bank"], conf.Settings(), patience=0.0) is None
    wait_for(look._done.is_set)


def test_each_act_has_its_permission(queue, staff):
    queue.bury("0197a2f4-7a9a-7000-8000-000000000001", ERROR)
    wait_for(lambda: queue.depth(".dead") == 1)
    client = staff("view_outboxevent", "replay_event")

    assert "Discard…" not in text(client.get(reverse(PAGE), {"queue": queue.name}))
    assert client.post(group(queue, "discard"), {}).status_code == 403
    assert client.get(reverse(PAGE), {"queue": "another"}).status_code == 404
    assert queue.depth(".dead") == 1


def test_what_is_discarded_is_gone(queue, admin_client):
    queue.bury("0197a2f4-7a9a-7000-8000-000000000001", ERROR)
    wait_for(lambda: queue.depth(".dead") == 1)
    asked = admin_client.get(group(queue, "discard"))

    admin_client.post(group(queue, "discard"), asked.context["hidden"])

    wait_for(lambda: queue.depth(".dead") == 0)
    assert queue.depth() == 0


def test_a_broker_that_is_away_takes_no_page_away(queue, admin_client, settings):
    settings.STRANGLER = {"BROKER_URL": "amqp://127.0.0.1:1"}

    page = text(admin_client.get(DASHBOARD))

    assert "dead letter" not in page
    answer = admin_client.get(reverse(PAGE), {"queue": queue.name}, follow=True)
    assert answer.redirect_chain[-1][0] == DASHBOARD
