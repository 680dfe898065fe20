"""Who looks at an unknown outcome, and what may be done about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone
from users.models import User

from django_strangler.findings import Level
from django_strangler.http_idempotency import idempotent, watching
from django_strangler.http_idempotency.models import IdempotentRequest, State
from django_strangler.http_idempotency.retention import prune

from .calling import pay, post, problem

pytestmark = pytest.mark.django_db
NAME = "admin:strangler_http_idempotency_idempotentrequest"


def make(state=State.UNKNOWN, *, late=True, key="order-17", route="pay/", **fields):
    now = timezone.now()
    return IdempotentRequest.objects.create(
        digest=key.ljust(64, "."),
        key=key,
        scope="user:1",
        fingerprint="f" * 64,
        route=route,
        state=state,
        expires_at=now - timedelta(days=1),
        locked_until=None
        if state == State.FINISHED
        else now + timedelta(hours=-1 if late else 1),
        **fields,
    )


@pytest.fixture
def staff(client):
    def log_in(*permissions):
        user = User.objects.create_user("ada", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


def test_the_list_leads_to_what_nobody_knows(staff):
    make()
    make(State.FINISHED, key="order-18", status=201)
    make(State.STARTED, key="order-19")
    make(State.STARTED, key="order-20", late=False)
    client = staff("view_idempotentrequest")

    page = client.get(reverse(f"{NAME}_changelist"), {"outcome": "unknown"})

    text = page.content.decode()
    assert "order-17" in text
    assert "order-19" in text
    assert "order-18" not in text
    assert "order-20" not in text


def test_a_key_is_found_exactly(staff):
    make()
    make(key="order-170")
    client = staff("view_idempotentrequest")

    text = client.get(reverse(f"{NAME}_changelist"), {"q": "order-17"}).content.decode()

    assert "order-17<" in text
    assert "order-170" not in text


@pytest.mark.parametrize("state", [State.UNKNOWN, State.STARTED])
def test_a_request_that_did_not_take_effect_may_come_again(staff, state):
    row = make(state)
    client = staff("resolve_idempotentrequest")
    url = reverse(f"{NAME}_release", args=[row.pk])
    assert (
        "let the client try again"
        in client.get(reverse(f"{NAME}_change", args=[row.pk])).content.decode()
    )

    assert client.get(url).status_code == 200
    client.post(url, {"why": "The bank has no such charge."})

    assert not IdempotentRequest.objects.exists()
    assert "The bank has no such charge." in LogEntry.objects.get().change_message


def test_a_request_that_took_effect_is_never_run_again(staff):
    def view(request):
        with request.idempotency.step("one"):
            pass
        raise KeyError

    view = idempotent(mode="steps")(view)
    with pytest.raises(KeyError):
        view(post())
    row = IdempotentRequest.objects.get()
    client = staff("resolve_idempotentrequest")

    client.post(reverse(f"{NAME}_settle", args=[row.pk]), {"why": "It is there."})

    response = view(post())
    assert problem(response) == "response-not-kept"
    assert b"originalStatus" not in response.content


def test_a_reason_is_demanded(staff):
    row = make()
    client = staff("resolve_idempotentrequest")

    client.post(reverse(f"{NAME}_release", args=[row.pk]), {"why": " "})

    assert IdempotentRequest.objects.exists()


@pytest.mark.parametrize("verb", ["release", "settle"])
def test_who_may_only_look_may_not_decide(staff, verb):
    row = make()
    client = staff("view_idempotentrequest")

    url = reverse(f"{NAME}_{verb}", args=[row.pk])

    assert client.get(url).status_code == 403
    assert client.post(url, {"why": "x"}).status_code == 403
    assert IdempotentRequest.objects.get().state == State.UNKNOWN


@pytest.mark.parametrize("state", [State.FINISHED, State.STARTED])
def test_what_is_known_or_still_running_is_left_alone(staff, state):
    row = make(state, late=False)
    client = staff("resolve_idempotentrequest")

    for verb in ("release", "settle"):
        client.post(reverse(f"{NAME}_{verb}", args=[row.pk]), {"why": "x"})

    assert IdempotentRequest.objects.get().state == state


def test_the_admin_escapes_what_a_client_has_sent(staff):
    row = make(key="<b>x</b>")
    client = staff("resolve_idempotentrequest")

    for page in ("change", "release"):
        text = client.get(reverse(f"{NAME}_{page}", args=[row.pk])).content.decode()
        assert "<b>x" not in text


def test_the_doctor_says_so():
    assert [each.level for each in watching.find()] == [Level.FINE]
    make()

    [finding] = watching.find()

    assert finding.level is Level.TROUBLE
    assert "order-17" in finding.text
    assert "admin" in finding.todo


def test_only_what_is_finished_and_expired_is_forgotten():
    for state in State:
        make(state, key=f"old-{state}")
    young = make(State.FINISHED, key="young")
    IdempotentRequest.objects.filter(pk=young.pk).update(
        expires_at=timezone.now() + timedelta(hours=1)
    )
    for number in range(5):
        make(State.FINISHED, key=f"more-{number}")

    assert sum(prune(batch=2)) == 6

    assert set(IdempotentRequest.objects.values_list("key", flat=True)) == {
        "young",
        f"old-{State.STARTED}",
        f"old-{State.UNKNOWN}",
    }


def test_a_forgotten_key_takes_effect_again():
    view = idempotent(pay)
    view(post())
    IdempotentRequest.objects.update(expires_at=timezone.now() - timedelta(1))
    list(prune())

    assert "Idempotent-Replayed" not in view(post())


def test_requests_are_counted_and_told():
    from django_strangler.http_idempotency import counts

    seen = []

    def receiver(sender, route, outcome, **kwargs):
        seen.append((route, outcome))

    counts.request_handled.connect(receiver)
    before = counts._requests.values().get(("/pay/", "replayed"), 0)
    view = idempotent(pay)
    for body in ({"a": 1}, {"a": 1}, {"a": 2}):
        view(post(body=body))
    view(post(key="not valid"))
    counts.request_handled.disconnect(receiver)

    assert seen == [
        ("/pay/", "new"),
        ("/pay/", "replayed"),
        ("/pay/", "mismatch"),
        ("/pay/", "invalid"),
    ]
    assert counts._requests.values()["/pay/", "replayed"] == before + 1
