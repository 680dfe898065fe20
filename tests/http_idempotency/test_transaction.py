"""Mode "transaction": a response is kept if and only if its effect was committed."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.core.handlers.base import BaseHandler
from django.db import connections, router, transaction
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test.utils import CaptureQueriesContext

from django_strangler import publish_event
from django_strangler.http_idempotency import claims, idempotent
from django_strangler.http_idempotency.exceptions import MissingScope, StreamedResponse
from django_strangler.http_idempotency.models import IdempotentRequest, State

from .calling import NOBODY, effects, pay, post, problem, user


def rows(alias: str) -> Any:
    return IdempotentRequest.objects.using(alias)


def test_the_same_request_takes_effect_once_and_is_answered_alike(quick_db_of_keys):
    view = idempotent(pay)

    first, second = view(post()), view(post())

    assert effects(quick_db_of_keys) == 1
    assert (second.status_code, second.content) == (201, first.content)
    assert second["Location"] == "/payments/1/"
    assert second["Content-Type"] == first["Content-Type"] == "application/json"
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first


def test_what_belongs_to_one_exchange_is_not_given_again(quick_db_of_keys):
    view = idempotent(pay)
    view(post())

    again = view(post())

    assert "X-Request-Id" not in again
    assert not again.cookies


def test_another_key_is_another_payment(quick_db_of_keys):
    view = idempotent(pay)

    for key in ("a", "A", "a.", "ä".encode().hex()):
        assert view(post(key=key)).status_code == 201

    assert effects(quick_db_of_keys) == 4


def test_a_quoted_key_is_the_same_key(quick_db_of_keys):
    view = idempotent(pay)

    view(post(key="order-17"))
    again = view(post(key='"order-17"'))

    assert again["Idempotent-Replayed"] == "true"


def test_two_users_may_choose_the_same_key(quick_db_of_keys):
    view = idempotent(pay)

    first = view(post(as_user=user(1)))
    second = view(post(as_user=user(2)))

    assert effects(quick_db_of_keys) == 2
    assert first.content != second.content


@pytest.mark.parametrize(
    "other",
    [
        {"body": {"amount": 2}},
        {"method": "PATCH"},
        {"path": "/refund/"},
        {"path": "/pay/?dry=1"},
        {"content_type": "text/plain", "body": '{"amount": 1}'},
    ],
)
def test_another_request_under_the_key_is_refused(quick_db_of_keys, other):
    view = idempotent(pay)
    view(post())

    response = view(post(**other))

    assert (response.status_code, problem(response)) == (422, "key-reused")
    assert effects(quick_db_of_keys) == 1


def test_the_order_of_the_query_does_not_matter(quick_db_of_keys):
    view = idempotent(pay)
    view(post("/pay/?a=1&b=2"))

    assert "Idempotent-Replayed" in view(post("/pay/?b=2&a=1"))


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 404, 410, 422])
def test_a_final_answer_is_kept(quick_db_of_keys, status):
    def view(request):
        publish_event("thing.done", {})
        return HttpResponse(b"said", status=status)

    view = idempotent(view)
    view(post())
    again = view(post())

    assert (again.status_code, again.content) == (status, b"said")
    assert "Idempotent-Replayed" in again
    assert effects(quick_db_of_keys) == 1


@pytest.mark.parametrize("status", [401, 403, 408, 409, 423, 425, 429, 500, 503])
def test_a_passing_refusal_leaves_neither_answer_nor_effect(quick_db_of_keys, status):
    answers = iter([status, 201])

    def view(request):
        publish_event("thing.done", {})
        return HttpResponse(status=next(answers))

    view = idempotent(view)

    assert view(post()).status_code == status
    assert effects(quick_db_of_keys) == 0
    again = view(post())
    assert again.status_code == 201
    assert "Idempotent-Replayed" not in again
    assert effects(quick_db_of_keys) == 1


def test_a_view_says_itself_what_is_final(quick_db_of_keys):
    view = idempotent(final=lambda response: response.status_code == 409)(
        lambda request: HttpResponse(status=409)
    )
    view(post())

    assert "Idempotent-Replayed" in view(post())


def test_what_a_view_raises_leaves_neither_answer_nor_effect(quick_db_of_keys):
    def view(request):
        publish_event("thing.done", {})
        raise Http404

    view = idempotent(view)

    with pytest.raises(Http404):
        view(post())
    with pytest.raises(Http404):
        view(post())
    assert effects(quick_db_of_keys) == 0
    assert not rows(quick_db_of_keys).exists()


def test_a_view_that_asks_for_a_rollback_gets_one(quick_db_of_keys):
    def view(request):
        publish_event("thing.done", {})
        transaction.set_rollback(True, using=quick_db_of_keys)
        return HttpResponse(status=400)

    view = idempotent(view)

    assert view(post()).status_code == 400
    assert effects(quick_db_of_keys) == 0
    assert "Idempotent-Replayed" not in view(post())


def test_a_streaming_response_is_an_error_and_nothing_is_committed(quick_db_of_keys):
    def view(request):
        publish_event("thing.done", {})
        return StreamingHttpResponse([b"a"])

    with pytest.raises(StreamedResponse):
        idempotent(view)(post())
    assert effects(quick_db_of_keys) == 0


def test_a_template_is_rendered_in_the_transaction(quick_db_of_keys):
    template = engines["django"].from_string("{{ amount }} paid")
    view = idempotent(
        lambda request: TemplateResponse(request, template, {"amount": 1})
    )
    first = view(post())

    assert first.is_rendered
    assert view(post()).content == b"1 paid"


def test_of_a_long_response_the_status_and_the_location_are_kept(quick_db_of_keys):
    def view(request):
        publish_event("thing.done", {})
        return HttpResponse(b"x" * 11, status=201, headers={"Location": "/things/1/"})

    view = idempotent(max_body=10)(view)

    assert view(post()).content == b"x" * 11
    again = view(post())
    assert (again.status_code, problem(again)) == (409, "response-not-kept")
    assert again["Location"] == "/things/1/"
    assert effects(quick_db_of_keys) == 1


def test_a_body_is_kept_to_the_byte(quick_db_of_keys):
    body = bytes(range(256)) * 16

    def view(request):
        return HttpResponse(body, content_type="image/x-odd; charset=none")

    view = idempotent(view)
    view(post())
    again = view(post())

    assert again.content == body
    assert again["Content-Type"] == "image/x-odd; charset=none"


def test_nothing_of_the_request_is_kept_but_a_digest(quick_db_of_keys):
    idempotent(pay)(post(body={"card": "4111-1111"}))

    row = rows(quick_db_of_keys).values().get()

    assert "4111" not in str(row)


def test_other_methods_ignore_the_header(quick_db_of_keys):
    view = idempotent(lambda request: HttpResponse(status=201))

    for method in ("GET", "PUT", "DELETE"):
        assert view(post(method=method, key="not valid at all")).status_code == 201
    assert not rows(quick_db_of_keys).exists()


def test_without_a_key_a_view_that_wants_one_does_not_run(quick_db_of_keys):
    response = idempotent(pay)(post(key=None))

    assert (response.status_code, problem(response)) == (400, "key-missing")
    assert effects(quick_db_of_keys) == 0


def test_a_key_may_be_optional(quick_db_of_keys):
    def view(request):
        assert request.idempotency.key is None
        return HttpResponse(request.idempotency.downstream_key("bank"))

    view = idempotent(required=False)(view)

    assert view(post(key=None)).content != view(post(key=None)).content


def test_nobody_s_key_needs_a_scope(quick_db_of_keys):
    with pytest.raises(MissingScope, match="scope="):
        idempotent(pay)(post(as_user=NOBODY))

    view = idempotent(scope=lambda request: request.headers["Client"])(pay)
    view(post(as_user=NOBODY, Client="shop-1"))
    view(post(as_user=NOBODY, Client="shop-2"))
    assert effects(quick_db_of_keys) == 2


def test_a_key_for_a_service_is_the_same_each_time_and_not_the_client_s(
    quick_db_of_keys,
):
    seen = []

    def view(request):
        seen.append(request.idempotency.downstream_key("charge"))
        return HttpResponse(status=503)

    view = idempotent(view)
    view(post())
    view(post())
    view(post(as_user=user(2)))

    assert seen[0] == seen[1] != seen[2]


def test_a_form_with_a_file_is_the_same_whatever_its_boundary(quick_db_of_keys):
    def form(boundary: str, content: str) -> Any:
        lines = [
            f"--{boundary}",
            'Content-Disposition: form-data; name="amount"',
            "",
            "1",
            f"--{boundary}",
            'Content-Disposition: form-data; name="scan"; filename="a.txt"',
            "Content-Type: text/plain",
            "",
            content,
            f"--{boundary}--",
            "",
        ]
        return post(
            body="\r\n".join(lines).encode(),
            content_type=f"multipart/form-data; boundary={boundary}",
        )

    seen = []

    def view(request):
        seen.append(request.FILES["scan"].read())
        return HttpResponse(status=201)

    view = idempotent(view)
    view(form("abc", "scanned"))

    assert "Idempotent-Replayed" in view(form("xyz", "scanned"))
    assert problem(view(form("xyz", "another"))) == "key-reused"
    assert seen == [b"scanned"]


def test_at_once_only_one_runs_and_the_others_wait_for_its_answer(db_of_keys):
    view = idempotent(wait=20)(pay)
    answers: list[Any] = []
    start = threading.Barrier(8)

    def client() -> None:
        start.wait()
        try:
            answers.append(view(post()))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({answer.content for answer in answers}) == 1
    assert [a.status_code for a in answers] == [201] * 8
    assert sum("Idempotent-Replayed" in answer for answer in answers) == 7
    assert effects(db_of_keys) == 1


class Slow:
    """A view that waits in the middle until it is told to go on."""

    def __init__(self, status: int = 201) -> None:
        self.status = status
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, request: Any) -> HttpResponse:
        publish_event("thing.done", {})
        self.inside.set()
        assert self.go_on.wait(30)
        return HttpResponse(b"slow", status=self.status)


@pytest.fixture
def slow():
    slow = Slow()
    yield slow
    slow.go_on.set()


def begin(view: Any, request: Any) -> threading.Thread:
    def run() -> None:
        try:
            view(request)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_request_that_takes_too_long_is_waited_for_no_longer(db_of_keys, slow):
    if connections[db_of_keys].vendor == "sqlite":
        connections[db_of_keys].close()
        connections.databases[db_of_keys]["OPTIONS"]["timeout"] = 0.5
    view = idempotent(wait=0.3)(slow)
    first = begin(view, post())
    assert slow.inside.wait(30)

    response = view(post())

    assert (response.status_code, problem(response)) == (409, "in-progress")
    assert int(response["Retry-After"]) >= 1
    slow.go_on.set()
    first.join()
    assert "Idempotent-Replayed" in view(post())


def test_who_waits_for_one_that_rolls_back_runs_itself(db_of_keys, slow):
    slow.status = 503
    first = begin(idempotent(slow), post())
    assert slow.inside.wait(30)
    second: list[Any] = []
    waiting = begin(
        lambda request: second.append(idempotent(wait=20)(pay)(request)), post()
    )
    slow.go_on.set()
    first.join()
    waiting.join()

    assert second[0].status_code == 201
    assert "Idempotent-Replayed" not in second[0]
    assert effects(db_of_keys) == 1


def test_who_waits_inside_a_transaction_opens_no_connections(
    postgresql_db, monkeypatch, slow
):
    monkeypatch.setattr(router, "db_for_write", lambda *args, **hints: postgresql_db)
    outside = mock.Mock(return_value=None)
    monkeypatch.setattr(claims, "find_outside", outside)
    first = begin(idempotent(slow), post())
    assert slow.inside.wait(30)

    with transaction.atomic(using=postgresql_db):
        response = idempotent(wait=0.3)(pay)(post())

    assert response.status_code == 409
    assert outside.mock_calls == []
    slow.go_on.set()
    first.join()


def in_the_request_s_transaction(view: Any, alias: str) -> Any:
    """As Django runs a view with ATOMIC_REQUESTS."""
    connections.databases[alias]["ATOMIC_REQUESTS"] = True
    return BaseHandler().make_view_atomic(view)


@pytest.mark.parametrize("atomic_requests", [True, False])
def test_the_session_waits_for_locks_as_before(
    postgresql_db, monkeypatch, atomic_requests
):
    monkeypatch.setattr(router, "db_for_write", lambda *args, **hints: postgresql_db)
    connection = connections[postgresql_db]
    seen = []

    def timeout() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return str(cursor.fetchone()[0])

    def view(request):
        seen.append(timeout())
        return HttpResponse()

    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '7s'")
    view = idempotent(view)
    if atomic_requests:
        view = in_the_request_s_transaction(view, postgresql_db)
    view(post())
    view(post())

    assert [*seen, timeout()] == ["7s", "7s"]


def test_atomic_requests_change_nothing(db_of_keys):
    answers = iter([503, 201])

    def view(request):
        publish_event("thing.done", {})
        return HttpResponse(b"x", status=next(answers))

    view = in_the_request_s_transaction(idempotent(view), db_of_keys)

    assert view(post()).status_code == 503
    assert effects(db_of_keys) == 0
    assert view(post()).status_code == 201
    assert "Idempotent-Replayed" in view(post())
    assert effects(db_of_keys) == 1


def test_it_costs_two_statements(db_of_keys):
    view = idempotent(pay)
    bare = transaction.atomic(using=db_of_keys)(pay)

    def statements(view: Any, key: str) -> int:
        request = post(key=key)
        with CaptureQueriesContext(connections[db_of_keys]) as queries:
            view(request)
        return len(queries)

    connection = connections[db_of_keys]
    # MySQL cannot set a timeout for one statement, so two more go around it.
    is_mysql = not getattr(connection, "mysql_is_mariadb", True)
    cost = 4 if is_mysql else 2
    statements(bare, "warm")
    assert statements(view, "1") - statements(bare, "2") == cost
    view = in_the_request_s_transaction(view, db_of_keys)
    bare = in_the_request_s_transaction(pay, db_of_keys)
    assert statements(view, "3") - statements(bare, "4") == cost


@pytest.mark.parametrize("mode", ["transaction", "steps"])
def test_a_driver_that_may_prepare_statements_does_so(make_db, monkeypatch, mode):
    alias = make_db("postgresql", server_side_binding=True, prepare_threshold=1)
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
    view = idempotent(mode=mode)(lambda request: HttpResponse(b"paid"))
    sent: list[str] = []

    def note(execute: Any, sql: str, *more: Any) -> Any:
        sent.append(sql)
        return execute(sql, *more)

    with connections[alias].execute_wrapper(note):
        for key in ("a", "b", "c"):
            assert view(post(key=key)).content == b"paid"

    assert sent == sent[:2] * 3
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_prepared_statements "
            "WHERE statement LIKE '%idempotentrequest%'"
        )
        assert cursor.fetchone() == (2,)


@pytest.mark.parametrize("atomic_requests", [True, False])
@pytest.mark.parametrize("source", ["postgresql", "mariadb"])
def test_an_old_snapshot_does_not_hide_the_first_answer(
    make_db, monkeypatch, source, atomic_requests, slow
):
    if source == "postgresql":
        alias = make_db(
            source, options="-c default_transaction_isolation=repeatable\\ read"
        )
    else:
        alias = make_db(source, isolation_level="repeatable read")
    monkeypatch.setattr(router, "db_for_write", lambda *args, **hints: alias)
    first = begin(idempotent(slow), post())
    assert slow.inside.wait(30)
    view = idempotent(wait=20)(pay)
    if atomic_requests:
        inner = view

        def view(request):
            effects(alias)  # The snapshot is older than the first answer.
            threading.Timer(0.2, slow.go_on.set).start()
            return inner(request)

        view = in_the_request_s_transaction(view, alias)
    else:
        threading.Timer(0.2, slow.go_on.set).start()

    response = view(post())

    first.join()
    assert response.content == b"slow"
    assert "Idempotent-Replayed" in response
    assert effects(alias) == 1


def test_a_key_is_remembered_for_the_retention(quick_db_of_keys):
    idempotent(retention=timedelta(hours=1))(pay)(post())

    row = rows(quick_db_of_keys).get()

    assert row.expires_at - row.created_at == timedelta(hours=1)
    assert row.state == State.FINISHED
    assert row.scope == "user:1"
    assert row.route == "/pay/"


def test_a_json_response_with_everything(quick_db_of_keys):
    view = idempotent(lambda request: JsonResponse({"a": "ü"}, status=200))
    first = view(post())

    assert view(post()).content == first.content
