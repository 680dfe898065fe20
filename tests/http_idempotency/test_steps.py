"""Mode "steps": what is known after each way in which a view can end."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse

from django_strangler import publish_event
from django_strangler.clock import DatabaseNow
from django_strangler.http_idempotency import idempotent
from django_strangler.http_idempotency.exceptions import (
    ClaimLost,
    InvalidIdempotentView,
)
from django_strangler.http_idempotency.models import IdempotentRequest, State

from .calling import effects, post, problem


class Failed(Exception):
    """What a view raises."""


class Died(BaseException):
    """What a killed process leaves is what nobody cleans up after."""


class Shop:
    """A view of two steps with a call to the bank between them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.status = 201

    def __call__(self, request: Any) -> HttpResponse:
        key = request.idempotency
        if key.point is None:
            self.fail("before")
            with key.step("reserved"):
                publish_event("stock.reserved", {})
        if key.point == "reserved":
            self.calls.append(key.downstream_key("charge"))
            self.fail("after the call")
            with key.step("charged"):
                publish_event("payment.completed", {})
                self.fail("inside")
        self.fail("end")
        return HttpResponse(b"paid", status=self.status)

    def fail(self, where: str) -> None:
        if error := self.fails.pop(where, None):
            raise error


@pytest.fixture
def shop() -> Shop:
    return Shop()


def row(alias: str) -> IdempotentRequest:
    return IdempotentRequest.objects.using(alias).get()


def let_the_lease_pass(alias: str) -> None:
    IdempotentRequest.objects.using(alias).update(locked_until=DatabaseNow(-1))


def test_each_step_is_committed_with_its_name(quick_db_of_keys, shop):
    view = idempotent(mode="steps")(shop)

    first, second = view(post()), view(post())

    assert (first.content, second.content) == (b"paid", b"paid")
    assert "Idempotent-Replayed" in second
    assert len(shop.calls) == 1
    assert effects(quick_db_of_keys) == 2
    found = row(quick_db_of_keys)
    assert (found.state, found.point, found.owner) == (State.FINISHED, "charged", None)


def test_while_it_runs_another_one_is_asked_to_come_again(db_of_keys, shop):
    seen = []

    class Again(Shop):
        def __call__(self, request):
            seen.append(view(post()))
            return super().__call__(request)

    view = idempotent(mode="steps", wait=0)(Again())
    view(post())

    assert (seen[0].status_code, problem(seen[0])) == (409, "in-progress")
    assert int(seen[0]["Retry-After"]) >= 1


def test_a_view_that_fails_before_its_first_step_gives_the_key_back(
    quick_db_of_keys, shop
):
    shop.fails["before"] = Failed()
    view = idempotent(mode="steps")(shop)

    with pytest.raises(Failed):
        view(post())

    assert view(post()).status_code == 201


@pytest.mark.parametrize("where", ["after the call", "inside", "end"])
def test_after_a_step_a_failure_leaves_the_outcome_unknown(
    quick_db_of_keys, shop, where
):
    shop.fails[where] = Failed()
    view = idempotent(mode="steps")(shop)
    with pytest.raises(Failed):
        view(post())

    response = view(post())

    assert (response.status_code, problem(response)) == (409, "outcome-unknown")
    assert row(quick_db_of_keys).state == State.UNKNOWN
    assert list(IdempotentRequest.objects.using(quick_db_of_keys).unknown())


def test_an_answer_that_is_not_kept_counts_as_a_failure(quick_db_of_keys, shop):
    shop.status = 503
    view = idempotent(mode="steps")(shop)

    assert view(post()).status_code == 503
    assert problem(view(post())) == "outcome-unknown"


def dead(view: Any, shop: Shop, monkeypatch: Any) -> None:
    """A request whose process is killed: nothing of ours runs after it."""
    from django_strangler.http_idempotency import claims

    with monkeypatch.context() as patch:
        patch.setattr(claims, "give_up", lambda *args: None)
        patch.setattr(claims, "give_back", lambda *args: None)
        with pytest.raises(Died):
            view(post())


@pytest.mark.parametrize("where", ["before", "after the call", "inside", "end"])
def test_a_dead_process_s_outcome_is_unknown_once_its_lease_is_past(
    quick_db_of_keys, shop, monkeypatch, where
):
    shop.fails[where] = Died()
    view = idempotent(mode="steps", wait=0)(shop)
    dead(view, shop, monkeypatch)

    assert problem(view(post())) == "in-progress"
    let_the_lease_pass(quick_db_of_keys)
    assert len(IdempotentRequest.objects.using(quick_db_of_keys).unknown()) == 1

    assert problem(view(post())) == "outcome-unknown"
    assert row(quick_db_of_keys).state == State.UNKNOWN


@pytest.mark.parametrize(
    ("where", "calls"),
    [("before", 1), ("after the call", 2), ("inside", 2), ("end", 1)],
)
def test_a_view_that_resumes_goes_on_from_its_last_step(
    quick_db_of_keys, shop, monkeypatch, where, calls
):
    shop.fails[where] = Died()
    view = idempotent(mode="steps", wait=0, resume=True)(shop)
    dead(view, shop, monkeypatch)
    let_the_lease_pass(quick_db_of_keys)

    response = view(post())

    assert (response.status_code, response.content) == (201, b"paid")
    assert effects(quick_db_of_keys) == 2
    assert len(shop.calls) == calls
    assert len(set(shop.calls)) == 1  # The bank sees one key.
    assert "Idempotent-Replayed" in view(post())


def test_a_slow_process_does_not_commit_after_another_has_taken_over(
    quick_db_of_keys,
):
    runs = []

    def view(request):
        runs.append(request)
        if len(runs) == 1:
            let_the_lease_pass(quick_db_of_keys)
            assert wrapped(post()).content == b"2"
        with request.idempotency.step("done"):
            publish_event("thing.done", {})
        return HttpResponse(str(len(runs)).encode())

    wrapped = idempotent(mode="steps", wait=0, resume=True)(view)

    with pytest.raises(ClaimLost, match="lease"):
        wrapped(post())

    assert effects(quick_db_of_keys) == 1
    assert wrapped(post()).content == b"2"


def test_a_slow_process_settles_what_was_thought_unknown(quick_db_of_keys):
    def view(request):
        let_the_lease_pass(quick_db_of_keys)
        assert problem(wrapped(post())) == "outcome-unknown"
        with request.idempotency.step("done"):
            pass
        return HttpResponse(b"late")

    wrapped = idempotent(mode="steps", wait=0)(view)
    wrapped(post())

    assert wrapped(post()).content == b"late"


def test_a_streaming_response_keeps_its_status(quick_db_of_keys, caplog):
    def view(request):
        return StreamingHttpResponse([b"a"], status=202)

    view = idempotent(mode="steps")(view)

    assert view(post()).status_code == 202
    assert problem(view(post())) == "response-not-kept"
    assert "streaming" in caplog.text


def test_another_body_is_refused_before_anything_else(quick_db_of_keys, shop):
    shop.fails["end"] = Failed()
    view = idempotent(mode="steps")(shop)
    with pytest.raises(Failed):
        view(post())

    assert problem(view(post(body={"amount": 2}))) == "key-reused"


def test_inside_a_transaction_it_refuses_to_begin(db_of_keys, shop):
    view = idempotent(mode="steps")(shop)

    with (
        pytest.raises(InvalidIdempotentView, match="non_atomic_requests"),
        transaction.atomic(using=db_of_keys),
    ):
        view(post())


def test_a_step_belongs_to_this_mode(quick_db_of_keys):
    def view(request):
        with request.idempotency.step("one"):
            pass

    with pytest.raises(InvalidIdempotentView, match="steps"):
        idempotent(view)(post())
