"""A payment, from the view to the row that the other service writes."""

from __future__ import annotations

import os
import subprocess

import pytest
from notifications.models import EmailLog
from payments.models import Payment
from users.models import User

from django_strangler.feature_flags.models import Flag
from django_strangler.models import OutboxEvent
from tests.services.databases import database_url
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

FLAG = "notifications-v2"
PAYMENTS = 100


def rollout(alias: str, percentage: int) -> None:
    Flag.objects.using(alias).create(name=FLAG, percentage=percentage)


def pending_payment(alias: str, number: int) -> Payment:
    user = User.objects.using(alias).create(
        username=f"user{number}", email=f"user{number}@example.com"
    )
    return Payment.objects.using(alias).create(
        user=user, amount="9.90", currency="EUR", reference=f"r{number}"
    )


def test_the_node_service_passes_its_own_tests(notifications_service, vhost, make_db):
    done = subprocess.run(
        ["node", "--test", "test/"],
        cwd=notifications_service,
        env={
            **os.environ,
            "BROKER_URL": vhost.url,
            "DATABASE_URL": database_url(make_db("postgresql")),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout[-6000:]
    assert "# skipped 0" in done.stdout


def test_one_trace_from_the_view_to_the_other_service_s_database(system):
    rollout(system.alias, 100)
    payment = pending_payment(system.alias, 1)

    system.post(f"/payments/{payment.pk}/complete/")
    wait_for(lambda: len(system.mails()) == 1)

    def chain():
        spans = system.spans()
        by_name = {span["name"]: span for span in spans}
        process = by_name.get("notifications process")
        published = by_name.get("publish domain-events:payment.completed")
        inserts = [
            span
            for span in spans
            if span["name"].startswith("pg.query:INSERT")
            and process
            and span["parentId"] == process["spanId"]
        ]
        view = next((s for s in spans if "complete" in s["name"]), None)
        if view and published and process and inserts:
            return view, published, process, inserts
        return None

    view, published, process, inserts = wait_for(chain)

    assert view["parentId"] is None
    assert published["parentId"] == view["spanId"]
    assert process["parentId"] == published["spanId"]
    assert len(inserts) == 2
    together = [view, published, process, *inserts]
    assert {span["traceId"] for span in together} == {view["traceId"]}


def test_each_user_gets_one_mail_by_the_path_the_flag_chose(system):
    rollout(system.alias, 30)
    payments = [pending_payment(system.alias, n) for n in range(PAYMENTS)]

    for payment in payments:
        system.post(f"/payments/{payment.pk}/complete/")
    events = OutboxEvent.objects.using(system.alias)
    wait_for(lambda: not events.pending().exists(), 120)
    moved = {
        event.payload["userId"]
        for event in events.filter(type="payment.completed")
        if event.headers[f"flag-{FLAG}"] == "on"
    }
    wait_for(lambda: len(system.mails()) >= len(moved))

    by_service = [user for user, _ in system.mails()]
    logged = EmailLog.objects.using(system.alias)
    by_monolith = list(logged.values_list("user_id", flat=True))
    assert sorted(by_service) == sorted(moved)
    assert sorted(by_service + by_monolith) == sorted(p.user_id for p in payments)
    assert 15 <= len(moved) <= 45
