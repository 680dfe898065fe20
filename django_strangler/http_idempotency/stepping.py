"""Mode "steps": the claim is committed first, because the view calls out on its way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http.response import HttpResponseBase

from django_strangler.databases import application_transaction_is_open

from . import answers, claims
from .claims import Busy, Claim
from .exceptions import InvalidIdempotentView, StreamedResponse
from .idempotency import Idempotency
from .models import State
from .rules import Rules

logger = logging.getLogger("django_strangler.http_idempotency")

POLL = 0.1


def run(
    rules: Rules, claim: Claim, request: Any, view: Callable[[], Any]
) -> tuple[HttpResponseBase, bool]:
    """Claim and commit, run the view, keep its answer if the claim is still ours."""
    connection = connections[rules.alias()]
    if application_transaction_is_open(connection):
        raise InvalidIdempotentView(
            'An idempotent view in mode "steps" was called inside a transaction, which '
            "would take its claim back with it. Decorate the view with "
            "@transaction.non_atomic_requests, or leave mode at its default."
        )
    claim = replace(claim, owner=uuid4(), lease=rules.seconds("lease"))
    deadline = time.monotonic() + rules.seconds("wait")
    while not _insert(connection, claim):
        found = claims.find(connection, claim)
        if found is not None:
            answers.check_same(found, claim)
            if found.state is State.FINISHED:
                return answers.replay(found, claim), True
            if found.state is State.UNKNOWN:
                raise answers.unknown()
            remaining = found.remaining or 0.0
            if remaining < 0:
                if claims.take_over(connection, claim, run_again=rules.resume):
                    if not rules.resume:
                        raise answers.unknown()
                    return _perform(rules, claim, request, view, found.point), False
            elif time.monotonic() >= deadline:
                raise answers.in_progress(min(remaining, 5))
        time.sleep(POLL)
    return _perform(rules, claim, request, view, None), False


def _insert(connection: BaseDatabaseWrapper, claim: Claim) -> bool:
    try:
        with claims.told_busy(), transaction.atomic(using=connection.alias):
            return claims.insert(connection, claim, wait=1.0)
    except Busy:
        return False


def _perform(
    rules: Rules,
    claim: Claim,
    request: Any,
    view: Callable[[], Any],
    point: str | None,
) -> Any:
    connection = connections[rules.alias()]
    request.idempotency = mine = Idempotency(claim, connection.alias)
    mine.point = point
    try:
        response = view()
    except BaseException:
        _fail(connection, claim, mine)
        raise
    try:
        answers.finish(response)
        body = answers.body_of(response, rules.longest_body())
    except StreamedResponse as error:
        logger.error("%s Only its status and headers were kept.", error)
        body = None
    if not rules.keeps(response):
        _fail(connection, claim, mine)
        return response
    headers = answers.headers_of(response)
    is_kept = claims.store(connection, claim, response.status_code, headers, body)
    if not is_kept:
        logger.warning(
            "The answer to the idempotency key %s was not kept: its request took "
            "longer than its lease, and another one has taken over.",
            claim.key,
        )
    return response


def _fail(connection: BaseDatabaseWrapper, claim: Claim, mine: Idempotency) -> None:
    if mine.point is None:
        claims.give_back(connection, claim)
    else:
        claims.give_up(connection, claim)
