"""The lists of events, and what they tell to whom."""

from __future__ import annotations

import json
import tracemalloc
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_strangler import publish_event
from django_strangler.admin import bounded, outbox
from django_strangler.admin.outbox import OutboxEventAdmin
from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent

pytestmark = pytest.mark.django_db

LIST = "admin:strangler_outboxevent_changelist"
DETAIL = "admin:strangler_outboxevent_change"
SECRET = "<script>alert('iban')</script>"


@pytest.fixture
def clerk(staff):
    return staff("view_outboxevent")


@pytest.fixture
def event():
    with transaction.atomic():
        publish_event(
            "payment.completed",
            {"iban": SECRET, "name": "ü"},
            key="payments.payment:42",
            headers={"tenant": "<b>"},
        )
    return OutboxEvent.objects.get()


def state(type, **times):
    values = {name: DatabaseNow(seconds) for name, seconds in times.items()}
    OutboxEvent.objects.create(type=type, body="{}", key=f"key of {type}", **values)


def shown(response):
    return [row.type for row in response.context["cl"].result_list]


def test_without_the_permission_to_look_there_is_nothing(staff, event):
    client = staff()

    assert client.get(reverse(LIST)).status_code == 403
    assert client.get(reverse(DETAIL, args=[event.pk])).status_code == 403


def test_the_payload_has_a_permission_of_its_own(clerk, event):
    pages = [
        clerk.get(reverse(LIST)),
        clerk.get(reverse(DETAIL, args=[event.pk])),
        clerk.get(reverse("admin:strangler_outboxevent_history", args=[event.pk])),
        clerk.get(reverse(LIST), {"q": "iban"}),
    ]

    for page in pages:
        assert page.status_code == 200
        assert "alert(" not in page.content.decode()
    assert shown(pages[-1]) == []


@pytest.mark.parametrize(
    "lookup", ["body__contains", "body", "body__regex", "headers__contains", "lane"]
)
def test_no_lookup_in_the_address_tells_it(clerk, event, lookup):
    response = clerk.get(reverse(LIST), {lookup: "iban"})

    assert response.status_code in (302, 400)
    assert response.status_code == 400 or response["Location"].endswith("?e=1")


def test_with_the_permission_it_is_pretty_and_escaped(staff, event):
    client = staff("view_outboxevent", "view_payload")

    page = client.get(reverse(DETAIL, args=[event.pk])).content.decode()

    assert SECRET not in page
    assert "&lt;script&gt;" in page
    assert "{\n  &quot;iban&quot;:" in page
    assert "ü" in page
    assert "&lt;b&gt;" in page


def test_a_large_payload_is_cut(staff, event):
    OutboxEvent.objects.update(body=f'"{"x" * 200_000}"')
    client = staff("view_outboxevent", "view_payload")

    page = client.get(reverse(DETAIL, args=[event.pk])).content.decode()

    assert len(page) < 150_000
    assert "and 100,002 more" in page


@pytest.mark.parametrize(
    "body",
    [
        "[" * 400 + "0" + ",0" * 20_000 + "]" * 400,
        "[" * 5_000 + "]" * 5_000,
        "no JSON",
    ],
)
def test_a_payload_that_cannot_be_laid_out_takes_no_page_away(staff, event, body):
    OutboxEvent.objects.update(body=body)
    client = staff("view_outboxevent", "view_payload")

    page = client.get(reverse(DETAIL, args=[event.pk]))

    assert page.status_code == 200
    assert body[0] in page.context["payload"]
    assert len(page.content) < 150_000


def test_laying_out_takes_no_more_memory_than_what_is_shown():
    nested = json.loads("[" * 400 + "0" + ",0" * 20_000 + "]" * 400)  # 16 MB of it.
    tracemalloc.start()
    try:
        text = outbox._pretty(nested)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(text) < 110_000
    assert peak < 3_000_000


def test_a_type_that_no_database_can_hold_finds_nothing(postgresql_db, route, staff):
    client = staff("view_outboxevent")
    route(postgresql_db)

    assert shown(client.get(reverse(LIST), {"type": "a\0"})) == []


def test_nothing_can_be_changed(admin_client, event):
    detail = reverse(DETAIL, args=[event.pk])

    assert (
        admin_client.get(reverse("admin:strangler_outboxevent_add")).status_code == 403
    )
    assert admin_client.post(detail, {"type": "x.y"}).status_code == 403
    delete = reverse("admin:strangler_outboxevent_delete", args=[event.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": event.pk}
    admin_client.post(reverse(LIST), action)
    page = admin_client.get(detail).content.decode()
    assert 'name="type"' not in page
    assert 'name="_save"' not in page
    assert OutboxEvent.objects.get().type == "payment.completed"


@pytest.fixture
def several():
    state("a.pending")
    state("a.old", published_at=-7200)
    state("a.delayed", available_at=600)
    state("a.confirmed", confirmed_at=-10)
    state("a.long_confirmed", confirmed_at=-100_000)
    state("a.parked", parked_at=-10)
    state("a.replayed", parked_at=-20, confirmed_at=-5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "pending"}, {"a.pending", "a.old", "a.delayed"}),
        ({"state": "parked"}, {"a.parked"}),
        ({"state": "confirmed"}, {"a.confirmed", "a.long_confirmed", "a.replayed"}),
        ({"type": "a.parked"}, {"a.parked"}),
        ({"state": "pending", "type": "a.parked"}, set()),
        ({"q": "key of a.old"}, {"a.old"}),
        ({"q": " key of a.delayed ", "state": "pending"}, {"a.delayed"}),
        ({"q": "key of"}, set()),
        ({"q": "old"}, {"a.old"}),  # The end of a key, from a dot on.
        ({"q": "00000000-0000-4000-8000-000000000000"}, set()),
        ({"state": "nonsense", "q": "key of a.old"}, {"a.old"}),
    ],
)
def test_lists_by_state_type_and_key(clerk, several, query, expected):
    response = clerk.get(reverse(LIST), query)

    assert response.status_code == 200
    assert set(shown(response)) == expected


def test_an_event_is_found_by_its_id(clerk, event, several):
    for text in (str(event.event_id), event.event_id.hex):
        assert shown(clerk.get(reverse(LIST), {"q": text})) == ["payment.completed"]


@pytest.mark.parametrize("model", ["outboxevent", "flagchange"])
def test_nobody_lets_the_lists_count_the_whole_table(
    admin_client, several, model, django_assert_max_num_queries
):
    page = reverse(f"admin:strangler_{model}_changelist")
    with CaptureQueriesContext(connection) as plain:
        admin_client.get(page)

    with django_assert_max_num_queries(len(plain)):
        answer = admin_client.get(page, {"_facets": "1"})

    assert "Show counts" not in answer.content.decode()


def test_a_row_says_in_a_line_what_it_is(clerk, several):
    OutboxEvent.objects.filter(type="a.parked").update(parked_reason="unroutable")
    OutboxEvent.objects.filter(type="a.pending").update(attempts=3)

    page = clerk.get(reverse(LIST)).content.decode()

    assert '<span class="strangler-badge parked">parked</span>' in page
    assert '<td class="field-note">unroutable</td>' in page
    assert '<td class="field-note">refused 3 times</td>' in page
    assert '<td class="field-note">delayed</td>' in page
    event = OutboxEvent.objects.get(type="a.parked")
    assert f'title="{event.event_id}">…{str(event.event_id)[-8:]}<' in page


def test_a_list_reads_a_bounded_number_of_rows(clerk, monkeypatch):
    monkeypatch.setattr(bounded, "COUNTED", 30)
    monkeypatch.setattr(bounded, "SEARCHED", 20)
    long_ago = datetime(2024, 1, 1, tzinfo=timezone.utc)
    times = [long_ago + timedelta(seconds=number) for number in range(100)]
    OutboxEvent.objects.bulk_create(
        OutboxEvent(type=f"a.n{number}", body="{}", **{name: time})
        for name in ("available_at", "parked_at", "confirmed_at")
        for number, time in enumerate(times)
    )
    OutboxEvent.objects.bulk_create(
        OutboxEvent(type=f"a.n{number}", body="{}") for number in range(100)
    )

    for query in (
        {},
        {"state": "confirmed"},
        {"state": "parked"},
        {"state": "pending"},
    ):
        assert clerk.get(reverse(LIST), query).context["cl"].result_count == 30

        first, last = (
            ("a.n0", "a.n99") if "pending" in query.values() else ("a.n99", "a.n0")
        )
        assert shown(clerk.get(reverse(LIST), {**query, "type": first}))
        found = shown(clerk.get(reverse(LIST), {**query, "type": last}))
        # The delayed, which stand elsewhere, are all looked through.
        assert len(found) == (1 if query.get("state") == "pending" else 0)


@pytest.mark.parametrize("per_page", [2, 100])
def test_a_list_reads_no_whole_table_and_no_body(clerk, several, monkeypatch, per_page):
    monkeypatch.setattr(OutboxEventAdmin, "list_per_page", per_page)
    with CaptureQueriesContext(connection) as queries:
        clerk.get(reverse(LIST))

    about = [q["sql"] for q in queries if "strangler_outboxevent" in q["sql"]]
    assert about
    for sql in about:
        assert "LIMIT" in sql
        assert '"body"' not in sql
