"""
What somebody gets wrong on the first days, and what the answer is: it names the cure.

Fifteen of them, by number. The 14th, processes that are forked once
the application is loaded (`gunicorn --preload`), is in feature_flags/test_processes.py;
the others are tested in depth beside their parts of the package as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from django_strangler import feature_flags, publish_event, subscribe
from django_strangler.exceptions import (
    InsideEventLoop,
    InvalidPayload,
    OutboxUnavailable,
    OutsideTransaction,
)
from django_strangler.feature_flags import evaluation
from django_strangler.models import OutboxEvent
from tests.inbox.conftest import registry
from tests.services.ports import free_port

__all__ = ["registry"]

ROOT = Path(__file__).parents[2]


def publish(payload=1, **options):
    return publish_event("payment.completed", payload, **options)


@pytest.mark.django_db(transaction=True)
def test_1_no_transaction_is_open():
    with pytest.raises(OutsideTransaction) as raised:
        publish()

    assert "Wrap the change and the event in transaction.atomic()" in str(raised.value)
    assert "or set ATOMIC_REQUESTS" in str(raised.value)


def unreachable():
    return f"amqp://guest:s3cret@127.0.0.1:{free_port()}/", "cannot be reached"


def nowhere():
    return "amqp://guest:s3cret@nowhere.invalid/", "cannot be resolved"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wrong", [unreachable, nowhere])
def test_2_the_broker_is_not_where_the_setting_says(
    wrong, caplog, settings, monkeypatch
):
    def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    url, message = wrong()
    if wrong is nowhere:  # At once, and whatever this machine's resolver makes of it.
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    settings.STRANGLER = {"BROKER_URL": url}
    with transaction.atomic():
        publish()

    with pytest.raises(CommandError) as raised:
        call_command("drain_outbox", "--once", "--patience", "3")

    said = f"{caplog.text}{raised.value}"
    assert message in said
    assert "s3cret" not in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"netloc": "nobody:s3cret@{place}"}, "refuses the login of 'nobody'"),
        ({"path": "/not-there"}, "has no virtual host 'not-there'"),
    ],
)
def test_2_the_broker_does_not_let_us_in(rabbitmq, change, message, caplog, settings):
    url = urlsplit(rabbitmq.url)
    place = url.netloc.rpartition("@")[2]
    changed = {name: value.format(place=place) for name, value in change.items()}
    settings.STRANGLER = {"BROKER_URL": url._replace(**changed).geturl()}
    with transaction.atomic():
        publish()

    with pytest.raises(CommandError) as raised:
        call_command("drain_outbox", "--once", "--patience", "20")

    said = f"{caplog.text}{raised.value}"
    assert message in said
    assert "STRANGLER['BROKER_URL']" in said
    assert "s3cret" not in said


@pytest.fixture
def unmigrated(db):
    """A database in which the app's tables have not been made yet."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            for table in ("relayprocess", "flag", "flagversion"):
                cursor.execute(f"ALTER TABLE strangler_{table} RENAME TO away_{table}")
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "command", [("drain_outbox", "--once", "--patience", "0"), ("flag", "list")]
)
def test_3_the_tables_are_missing(unmigrated, command):
    with pytest.raises(CommandError) as raised:
        call_command(*command)

    assert "manage.py migrate strangler" in str(raised.value)


@pytest.mark.django_db(transaction=True)
def test_4_there_is_no_subscriber_or_its_module_has_another_name(registry, settings):
    settings.STRANGLER = {"BROKER_URL": "local://"}
    with transaction.atomic():
        publish()

    call_command("drain_outbox", "--once")

    row = OutboxEvent.objects.get()
    assert row.state == "parked"
    assert "No subscriber of this project is for this type" in row.last_error
    assert "payments.subscribers" in row.last_error  # Where one would be found.
    assert "manage.py replay_events --unroutable" in row.last_error


@pytest.mark.django_db
def test_5_the_flag_has_another_name(caplog, monkeypatch):
    monkeypatch.setattr(evaluation, "_missed", set())
    monkeypatch.setattr(evaluation, "_unknown", set())
    with caplog.at_level(logging.WARNING):
        assert not feature_flags.is_enabled("notification-v2", 7)
        assert not feature_flags.is_enabled("notification-v2", 7)

    assert caplog.text.count("Create it with: manage.py flag set notification-v2") == 1


@pytest.mark.django_db
def test_6_async_code_publishes_or_asks_for_a_flag():
    feature_flags.set_rollout("notifications-v2", 100)
    feature_flags.is_enabled("notifications-v2", 7)  # It could answer from memory.

    async def publishing():
        publish()

    async def asking():
        feature_flags.is_enabled("notifications-v2", 7)

    with pytest.raises(OutsideTransaction, match="await sync_to_async"):
        asyncio.run(publishing())
    for _ in range(2):  # Each time alike.
        with pytest.raises(InsideEventLoop, match=r"await feature_flags\.ais_enabled"):
            asyncio.run(asking())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2026, 1, 1), r"payload\['at'\] is the naive datetime"),
        ({1}, r"payload\['at'\] is"),
        (float("nan"), r"payload\['at'\] is nan"),
        (OutboxEvent(), r"payload\['at'\] is"),
    ],
)
def test_7_the_payload_is_no_json(value, message):
    with transaction.atomic():
        with pytest.raises(InvalidPayload, match=message):
            publish({"at": value})
        publish({"at": Decimal("9.90")})


@pytest.mark.django_db
def test_8_a_test_takes_its_own_transaction_for_one():
    with pytest.raises(OutsideTransaction) as raised:
        publish()

    assert "that a TestCase puts around each test does not count" in str(raised.value)
    assert "autocommit_allowed()" in str(raised.value)


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("django_strangler.tasks", "celery", "celery"),
        ("django_strangler.feature_flags.openfeature", "openfeature", "openfeature"),
        ("django_strangler.services.client", "urllib3", "services"),
        ("django_strangler.services.identity", "jwt", "services"),
    ],
)
def test_9_the_library_of_an_extra_is_not_installed(module, library, extra):
    program = (
        "import sys, django\n"
        "django.setup()\n"
        "for name in list(sys.modules):\n"
        f"    if name.startswith(({module!r}, 'django_strangler.services')):\n"
        "        del sys.modules[name]\n"
        f"sys.modules[{library!r}] = None\n"
        "try:\n"
        f"    import {module}\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
            "DJANGO_SETTINGS_MODULE": "tests.settings_core",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert f"pip install 'django-strangler[{extra}]'" in done.stdout, done.stderr


def test_10_nobody_has_set_the_broker_of_production(settings, capsys):
    settings.STRANGLER = {}

    call_command("check", "--deploy", "--fail-level", "CRITICAL")

    said = capsys.readouterr().err
    assert "strangler.W005" in said
    assert "BROKER_URL" in said


def test_11_the_change_is_in_another_database(make_db):
    one, other = make_db("sqlite"), make_db("sqlite")

    with transaction.atomic(using=one), pytest.raises(OutsideTransaction) as raised:
        publish(using=other)

    assert f"The one that is open is on {one!r}" in str(raised.value)
    assert f"pass using={one!r}" in str(raised.value)


def test_11_the_other_database_has_no_outbox(make_db):
    alias = make_db("sqlite")
    with connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE strangler_outboxevent RENAME TO away_outboxevent")

    with transaction.atomic(using=alias), pytest.raises(OutboxUnavailable) as raised:
        publish(using=alias)

    assert f"migrate strangler --database {alias}" in str(raised.value)


class Someone:
    """A user of a project whose users have texts for primary keys."""

    pk = "7d1c66a5-3b5e-4d0e-9a44-0a4d5f0b6a77"
    is_authenticated = True


@pytest.mark.django_db
def test_12_a_user_his_id_and_its_text_get_one_answer():
    feature_flags.set_rollout("notifications-v2", 0)
    feature_flags.include("notifications-v2", Someone.pk)

    asked = [Someone(), Someone.pk, "somebody-else"]
    answers = [feature_flags.is_enabled("notifications-v2", each) for each in asked]

    assert answers == [True, True, False]


def pay(request):
    publish()
    return HttpResponse("paid")


urlpatterns = [path("pay/", pay)]


@pytest.mark.django_db(transaction=True)
@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
def test_13_atomic_requests_is_a_transaction(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    assert Client().get("/pay/").content == b"paid"

    assert OutboxEvent.objects.count() == 1


class Replica:
    """A router that reads from another database than it writes to."""

    def __init__(self, replica: str) -> None:
        self.replica = replica

    def db_for_read(self, model: type, **hints: object) -> str:
        return self.replica

    def db_for_write(self, model: type, **hints: object) -> str:
        return "default"


@pytest.mark.django_db(transaction=True)
def test_15_what_reads_from_a_replica_still_sees_the_flag(
    sqlite_db, settings, capsys, registry
):
    feature_flags.set_rollout("notifications-v2", 5)
    settings.DATABASE_ROUTERS = [Replica(sqlite_db)]  # Empty: it lags behind.

    subscribe("payment.*", name="receipts", flag="notifications-v2")(print)

    with suppress(SystemExit):  # There is no relay.
        call_command("strangler_doctor")

    said = capsys.readouterr().out
    assert "1 flag" in said
    assert "does not exist" not in said
