"""Who runs the view, and who gets the answer that was given before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_strangler.databases import application_transaction_is_open

from . import answers, claims, counts, keys, stepping
from .claims import Busy, Claim, Found
from .counts import Outcome
from .idempotency import Idempotency
from .problems import Problem, Refusal
from .rules import Rules

# Before another try, where the database itself does not wait: at first, and at last.
PAUSE, LONGEST_PAUSE = 0.01, 0.1

View: TypeAlias = Callable[[], Any]


def run(rules: Rules, request: Any, view: View) -> HttpResponseBase:
    """The view's response, the one that it gave before, or a problem."""
    route = _route(request)
    outcome: Outcome | None = Outcome.FAILED
    began = time.perf_counter()
    try:
        claim = _claim(rules, request, route)
        if claim is None:
            outcome = None
            request.idempotency = Idempotency(None)
            return view()  # type: ignore[no-any-return]
        run_once = stepping.run if rules.mode == "steps" else _in_a_transaction
        response, replayed = run_once(rules, claim, request, view)
        if replayed:
            request.idempotency = Idempotency(claim, replayed=True)
        outcome = Outcome.REPLAYED if replayed else Outcome.NEW
    except Refusal as refusal:
        outcome = Outcome.of(refusal.problem)
        return refusal.response()
    finally:
        if outcome is not None:
            counts.note(route, outcome, time.perf_counter() - began)
    return response


def _route(request: HttpRequest) -> str:
    match = request.resolver_match
    return request.path if match is None else str(match.route)


def _claim(rules: Rules, request: HttpRequest, route: str) -> Claim | None:
    if request.method not in keys.METHODS:
        return None  # The others are idempotent by themselves, or write nothing.
    # Not request.headers, which is built of all of them.
    key = keys.read_key(request.META.get("HTTP_IDEMPOTENCY_KEY"))
    if key is None:
        if rules.required:
            raise Refusal(
                Problem.KEY_MISSING,
                "Send an Idempotency-Key header: a new UUID for each thing that you "
                "want to happen once, and the same one when you send it again.",
            )
        return None
    scope = rules.scope_of(request)
    own = None if rules.fingerprint is None else rules.fingerprint(request)
    return Claim(
        digest=keys.digest(scope, key),
        scope=scope,
        key=key,
        fingerprint=keys.fingerprint(request, own),
        route=route,
        retention=rules.seconds("retention"),
        table=rules.kept_in()._meta.db_table,
    )


def _in_a_transaction(
    rules: Rules, claim: Claim, request: Any, view: View
) -> tuple[HttpResponseBase, bool]:
    """Claim, effect and answer are one transaction; who else comes, waits for it."""
    connection = connections[rules.alias()]
    deadline = time.monotonic() + rules.seconds("wait")
    pause = PAUSE
    while True:
        patience = max(0.0, deadline - time.monotonic())
        with contextlib.suppress(Busy), contextlib.ExitStack() as stack:
            with claims.told_busy():
                stack.enter_context(_atomic(connection))
                is_first = claims.insert(connection, claim, wait=patience)
            if is_first:
                request.idempotency = Idempotency(claim, connection.alias)
                return _perform(rules, claim, connection, view), False
        if found := _find(connection, claim):
            return answers.replay(found, claim), True
        # The first one has rolled back meanwhile, or is not done yet. In a transaction
        # that is broken nothing can begin anew.
        if connection.needs_rollback or time.monotonic() >= deadline:
            raise answers.in_progress(1)
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)


def _atomic(connection: BaseDatabaseWrapper) -> Any:
    # In the request's own transaction (ATOMIC_REQUESTS) no savepoint is needed: what is
    # not kept takes all of it back. A TestCase's transaction has to go on.
    return transaction.atomic(
        using=connection.alias,
        savepoint=not application_transaction_is_open(connection),
    )


def _perform(
    rules: Rules, claim: Claim, connection: BaseDatabaseWrapper, view: View
) -> Any:
    response: Any = view()
    answers.finish(response)
    if connection.needs_rollback:
        return response  # The view has said itself that nothing of it shall stay.
    if not rules.keeps(response):
        transaction.set_rollback(True, using=connection.alias)
        return response
    body = answers.body_of(response, rules.longest_body())
    headers = answers.headers_of(response)
    claims.store(connection, claim, response.status_code, headers, body)
    return response


def _find(connection: BaseDatabaseWrapper, claim: Claim) -> Found | None:
    with contextlib.suppress(Busy), claims.told_busy():
        if not connection.needs_rollback:
            if found := claims.find(connection, claim):
                return found
            if not connection.in_atomic_block or claims.sees_commits(connection):
                return None
        if connection.in_atomic_block:
            return claims.find_outside(connection, claim)
    return None
