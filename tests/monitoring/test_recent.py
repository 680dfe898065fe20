"""Whoever asks often looks seldom, and a database that hangs holds one thread."""

from __future__ import annotations

import os
import threading

import pytest
from django.db import OperationalError

from django_strangler.monitoring import recent as module
from django_strangler.monitoring.recent import recent


def test_who_asks_often_looks_seldom(db, django_assert_num_queries):
    with django_assert_num_queries(4, using=db):
        first = recent(db, seconds=60)
        assert recent(db, seconds=60) is first

    assert recent(db, seconds=0) is not first


def test_a_database_that_fails_is_asked_no_more_often(db, monkeypatch):
    looks = []

    def fail(using: str) -> None:
        looks.append(using)
        raise OperationalError("no route")

    monkeypatch.setattr(module, "look", fail)

    for _ in range(5):
        with pytest.raises(OperationalError, match="no route"):
            recent(db, seconds=60)

    assert looks == [db]


def test_a_database_that_hangs_holds_one_thread_and_not_all_who_ask(db, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    began, end = threading.Event(), threading.Event()

    def hang(using: str) -> None:
        began.set()
        end.wait(20)

    monkeypatch.setattr(module, "look", hang)
    first = threading.Thread(target=recent, args=(db,), kwargs={"seconds": 60})
    first.start()
    assert began.wait(20)

    try:
        with pytest.raises(OperationalError, match="still has no answer"):
            recent(db, seconds=60)
    finally:
        end.set()
        first.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_a_forked_process_does_not_wait_for_a_look_of_its_parent():
    with module._looking:
        child = os.fork()
        if not child:
            os._exit(not module._looking.acquire(blocking=False))
        _, status = os.waitpid(child, 0)

    assert status == 0
