"""The same examples against both, with the same answers, rows and events."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from django_strangler import conf
from django_strangler.brokers.memory import MemoryBroker
from django_strangler.contracts.declare import registry
from django_strangler.contracts.fitting import misfit
from django_strangler.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from tests.services.databases import database_url

from .conftest import Api, filled
from .examples import EXAMPLES

pytestmark = pytest.mark.slow
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
MAILED = ("receipts",)  # The monolith's mails; those of the service come by events.


def normal(value: Any, ids: dict[int, str]) -> Any:
    """Without what differs from one run to the next."""
    if isinstance(value, dict):
        return {
            name: _named(name, each, ids)
            for name, each in value.items()
            if name not in MAILED
        }
    if isinstance(value, list):
        return [normal(each, ids) for each in value]
    return value


def _named(name: str, value: Any, ids: dict[int, str]) -> Any:
    if name in ("id", "paymentId", "refundId") and isinstance(value, int):
        return ids.setdefault(value, f"{name}-{len(ids)}")
    if isinstance(value, str) and WHEN.fullmatch(value):
        return "a time"
    if name == "reference" and re.fullmatch(r"[0-9a-f]{32}", str(value)):
        return "a reference"
    return normal(value, ids)


def play(api: Api, name: str, people: dict[str, str]) -> list[Any]:
    answers: list[Any] = []
    ids: dict[int, str] = {}
    seen = []
    for method, path, body, wanted in EXAMPLES[name]:
        path, body = filled(path, people, answers), filled(body, people, answers)
        status, headers, answer = api.call(method, path, body)
        assert status == wanted, (name, method, path, body, status, answer)
        answers.append(answer)
        # Who has GET has HEAD and OPTIONS, whether it says so or not.
        named = set((headers["Allow"] or "").replace(" ", "").split(","))
        allowed = sorted(named - {"HEAD", "OPTIONS"})
        seen.append(
            [status, normal(answer, ids) if status not in (404, 405) else allowed]
        )
    return [seen, written(api.alias)]


def written(alias: str) -> Any:
    """The rows and the events of the example; then they are gone."""
    ids: dict[int, str] = {}
    with psycopg.connect(database_url(alias)) as connection:
        tables = {
            "payments": "SELECT status, amount, currency FROM payments_payment",
            "refunds": "SELECT amount, reason FROM payments_refund",
            "ledger": "SELECT kind, amount, currency FROM payments_ledgerentry",
            "events": "SELECT type, body, lane >= 0, key <> '', size = length(body) "
            "FROM strangler_outboxevent",
        }
        found: dict[str, Any] = {
            name: [list(row) for row in connection.execute(f"{sql} ORDER BY id")]
            for name, sql in tables.items()
        }
        names = ("payments_payment", "strangler_outboxevent")
        connection.execute(f"TRUNCATE {', '.join(names)} CASCADE")
    registry.discover()
    for event in found["events"]:
        payload = json.loads(event[1])
        # Whoever publishes: the contract holds for both.
        assert not misfit(registry.events[event[0]].schema, payload, closed=True)
        event[1] = normal(payload, ids)
    return found


def test_the_service_answers_as_the_monolith_does(monolith, start_service, people):
    service = start_service()
    different = {}
    for name in EXAMPLES:
        theirs, ours = play(monolith, name, people), play(service, name, people)
        if theirs != ours:
            different[name] = (theirs, ours)

    assert different == {}, json.dumps(different, default=str, indent=1)


def test_events_of_the_service_have_the_monolith_s_lanes(
    monolith, start_service, people
):
    from django_strangler.outbox.lanes import lane_of

    play_one = {"user": people["user"], "amount": "1.00", "currency": "EUR"}
    for api in (monolith, start_service()):
        api.call("POST", "/payments/", play_one)

    with psycopg.connect(database_url(monolith.alias)) as connection:
        rows = connection.execute("SELECT key, lane FROM strangler_outboxevent")
        for key, lane in rows.fetchall():
            assert lane == lane_of(key)
            assert key.startswith("payments.payment:")


def test_the_relay_drains_what_the_service_wrote(start_service, people):
    service = start_service()
    _, _, made = service.call(
        "POST",
        "/payments/",
        {"user": people["user"], "amount": "1.00", "currency": "EUR"},
    )
    service.call("POST", f"/payments/{made['id']}/fail/", {"reason": "ä \U0001f600"})

    settings = replace(conf.current(), broker_url=("memory://payments-api",))
    broker = MemoryBroker(settings.broker_url, settings)
    relay = Relay(service.alias, broker=broker, settings=settings, steady=False)

    assert relay.drain().confirmed == 2
    sent = list(OutboxEvent.objects.using(service.alias).confirmed().order_by("id"))
    assert [event.type for event in sent] == ["payment.created", "payment.failed"]
    assert sent[1].payload["reason"] == "ä \U0001f600"
    assert sent[1].headers["flag-notifications-v2"] == "on"


class TestKeys:
    """Charges with an Idempotency-Key."""

    def charge(self, api: Api, people: dict[str, str], key: str, amount="1.00") -> Any:
        body = {"user": people["user"], "amount": amount, "currency": "EUR"}
        return api.call("POST", "/payments/", body, Idempotency_Key=key)

    def test_a_key_charges_once(self, start_service, people):
        service = start_service()

        first = self.charge(service, people, "k-1")
        again = self.charge(service, people, '"k-1"')
        other = self.charge(service, people, "k-1", "2.00")
        malformed = self.charge(service, people, "a b")

        assert (first[0], again[0]) == (201, 201)
        assert first[2] == again[2]
        assert again[1]["Idempotent-Replayed"] == "true"
        assert (other[0], malformed[0]) == (422, 400)
        assert len(written(service.alias)["payments"]) == 1

    def test_a_key_at_once_charges_once(self, start_service, people):
        from concurrent.futures import ThreadPoolExecutor

        service = start_service()
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda _: self.charge(service, people, "k-1"), range(8))
            )

        assert {status for status, _, _ in answers} <= {201, 409}
        assert (
            len({json.dumps(body) for status, _, body in answers if status == 201}) == 1
        )
        assert len(written(service.alias)["payments"]) == 1

    def test_a_failure_leaves_the_key_free(self, start_service, people):
        service = start_service(BUGS="1")
        service.call("PUT", "/__bugs", {"errors": 1})
        assert self.charge(service, people, "k-1")[0] == 500
        service.call("PUT", "/__bugs", {})

        assert self.charge(service, people, "k-1")[0] == 201

    def test_both_sides_know_the_same_request(self, start_service, people):
        from django.contrib.auth.models import AnonymousUser
        from django.db import connections
        from django.test import RequestFactory
        from monolith.api import caller

        from django_strangler.http_idempotency import keys

        service = start_service()
        body = {"user": people["user"], "amount": "1.00", "currency": "EUR"}
        data = json.dumps(body).encode()
        service.call(
            "POST",
            "/payments/?b=2&a=ä".replace("ä", "%C3%A4"),
            data,
            Idempotency_Key="k",
        )
        request = RequestFactory().post(
            "/payments/?b=2&a=%C3%A4", data, content_type="application/json"
        )
        request.user = AnonymousUser()

        with connections[service.alias].cursor() as cursor:
            cursor.execute("SELECT digest, fingerprint FROM payments_paymentrequest")
            found = cursor.fetchone()

        assert found == (keys.digest(caller(request), "k"), keys.fingerprint(request))


class TestBugs:
    """What can be switched on, to see what the others do about it."""

    def test_errors_slowness_and_wrong_answers(self, start_service, people):
        service = start_service(BUGS="1")
        body = {"user": people["user"], "amount": "1.00", "currency": "EUR"}
        service.call("PUT", "/__bugs", {"wrong": 1, "slow": 1})
        assert service.call("POST", "/payments/", body)[2]["amount"] == "1.01"
        service.call("PUT", "/__bugs", {"errors": 1})
        assert service.call("GET", "/payments/")[0] == 500

    def test_a_crash(self, start_service):
        service = start_service(BUGS="1")
        service.call("PUT", "/__bugs", {"crash": True})

        with pytest.raises(OSError, match=r"."):
            service.call("GET", "/payments/")

    def test_they_are_behind_a_switch(self, start_service):
        assert start_service().call("PUT", "/__bugs", {"crash": True})[0] == 404


def test_the_service_believes_the_monolith_s_identity_only(
    start_service, serve, people, settings
):
    from django_strangler.services import identity
    from tests.services_client.conftest import new_private_key

    settings.STRANGLER = {"IDENTITY": {"KEYS": [new_private_key()]}}
    published = json.dumps(identity.jwk_set()).encode()

    def keys(talk: Any) -> None:
        while talk.read():
            talk.answer(published)

    from users.models import User

    service = start_service(KEYS_URL=f"{serve(keys).url}/strangler/keys.json")
    user = User(pk=int(people["user"]))

    def ask(token: str, method: str = "GET", path: str = "/payments/?user=0") -> int:
        return service.call(method, path, Strangler_Identity=token)[0]

    good = identity.issue_identity(user, "payments")
    other = identity.issue_identity(user, "notifications")
    posting = identity.issue_identity(
        user, "payments", method="POST", path="/payments/"
    )
    assert ask(good) == 200
    assert ask(other) == 401
    assert ask(good[:-4] + "AAAA") == 401
    assert ask("a.b.c") == 401
    assert ask(good, "POST", "/payments/") == 401
    assert ask(posting, "POST", "/payments/") == 400  # The form is empty.
    assert ask(posting, "POST", "/payments/7/complete/") == 401
    settings.STRANGLER = {"IDENTITY": {"KEYS": [new_private_key()]}}
    assert ask(identity.issue_identity(user, "payments")) == 401
