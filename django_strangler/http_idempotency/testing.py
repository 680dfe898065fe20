"""For the tests of a project: one call proves that a view keeps the promise."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

from django.db import connections, router, transaction

from django_strangler.databases import a_test_never_commits

from .answers import REPLAYED
from .models import IdempotentRequest, kept_in
from .problems import Problem

PATIENCE = 10.0


class Crashed(Exception):
    """The process was killed, as far as the view and its transaction can tell."""


def assert_idempotent(
    call: Callable[..., Any],
    *args: Any,
    effect: Callable[[], Any] | None = None,
    at_once: int = 4,
    using: str | None = None,
    **kwargs: Any,
) -> Any:
    """
    Fail unless ``call(*args, **kwargs)`` takes effect once; return its response.

    One key is sent with a crash before the commit, several times at once with a crash
    after it, and twice more. ``call`` is a method of Django's test client, or takes
    ``headers`` as that does. ``effect`` tells what was done: it may change only once.
    In a ``TestCase``, where nothing commits, nothing can be sent at once either.
    """
    alias = using or router.db_for_write(IdempotentRequest)
    key = str(uuid4())
    headers = {**kwargs.pop("headers", {}), "Idempotency-Key": key}

    def send(crash: Any = None) -> Any:
        with crash or _NoCrash():
            return _own(call)(*args, **kwargs, headers=headers)

    before = effect() if effect else None
    response = _survived(send, _Crash(alias, after_commit=False))
    assert response is None, f"The view did not reach its end: {_shown(response)}"
    _check_effect(effect, before, "although the process died before the commit")

    nothing_commits = a_test_never_commits(connections[alias])
    first = send() if nothing_commits else _race(send, alias, at_once)
    assert first.status_code < 400, f"Nothing was done: {_shown(first)}"
    done = effect() if effect else None
    assert not effect or done != before, "The effect did not change; it was to."

    for _ in range(2):
        again = send()
        assert REPLAYED in again, f"The view ran again: {_shown(again)}"
        assert again.status_code == first.status_code
        assert again.content == first.content, "It was answered differently."
        _check_effect(effect, done, "although the first answer was given again")
    return first


def _race(send: Callable[..., Any], alias: str, at_once: int) -> Any:
    start = threading.Barrier(at_once)
    crashes = [_Crash(alias, after_commit=True) for _ in range(at_once)]

    def client(crash: _Crash) -> Any:
        try:
            start.wait()
            deadline = time.monotonic() + PATIENCE
            while True:
                response = _survived(send, crash)
                if response is None or not _may_pass(response):
                    return response
                assert time.monotonic() < deadline, f"It stays so: {_shown(response)}"
                time.sleep(0.01)
        finally:
            _close_all()

    with ThreadPoolExecutor(at_once) as threads:
        responses = list(threads.map(client, crashes))
    committed = sum(crash.has_struck for crash in crashes)
    # None has crashed if another callback after the commit raised first.
    assert committed <= 1, f"{committed} of {at_once} requests at once took effect."
    answers = [response for response in responses if response is not None]
    for response in answers:
        assert response.content == answers[0].content, "They were answered differently."
    return answers[0] if answers else send()


def _close_all() -> None:
    for each in connections.all(initialized_only=True):
        each.close()
        # A database in memory is left open by Django, and this thread ends.
        if each.connection is not None:
            each.connection.close()


class _NoCrash(AbstractContextManager[None]):
    def __exit__(self, *error: object) -> None:
        pass


class _Crash:
    """Strikes when the response is kept, in this thread: before COMMIT or after it."""

    def __init__(self, alias: str, *, after_commit: bool) -> None:
        self._alias = alias
        self._after_commit = after_commit
        self.has_struck = False

    def __enter__(self) -> None:
        self._watch = connections[self._alias].execute_wrapper(self._execute)
        self._watch.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._watch.__exit__(*error)

    def _execute(self, execute: Any, sql: str, params: Any, *more: Any) -> Any:
        result = execute(sql, params, *more)
        if sql.startswith("UPDATE") and any(
            model._meta.db_table in sql for model in kept_in()
        ):
            if not self._after_commit:
                self._strike()
            transaction.on_commit(self._strike, using=self._alias)
        return result

    def _strike(self) -> None:
        self.has_struck = True
        raise Crashed


def _survived(send: Callable[..., Any], crash: _Crash) -> Any:
    """The response, or None if the process died."""
    try:
        response = send(crash)
    except Crashed:
        return None
    return None if crash.has_struck else response


def _own(call: Callable[..., Any]) -> Callable[..., Any]:
    # Django's test client raises what another thread's view has raised.
    client: Any = getattr(call, "__self__", None)
    if not hasattr(client, "raise_request_exception"):
        return call
    client = copy.copy(client)
    client.raise_request_exception = False
    own: Callable[..., Any] = getattr(client, call.__name__)
    return own


def _may_pass(response: Any) -> bool:
    # SQLite in memory, where many tests run, refuses at once what would have to wait.
    busy = Problem.IN_PROGRESS.type.encode() in response.content
    return busy or response.status_code >= 500


def _check_effect(effect: Any, before: Any, when: str) -> None:
    if effect:
        now = effect()
        assert now == before, f"The effect changed from {before!r} to {now!r}, {when}."


def _shown(response: Any) -> str:
    return f"{response.status_code} {response.content[:500]!r}"
