"""A judge that sees nothing would call everything GOOD."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connections, transaction

from tests.services.databases import database_url

from . import judge, ledger
from .ledger import COMMITTED, REFUSED, UNDONE, Line
from .report import CALM, Report, Window

ROOT = Path(__file__).parents[3]
LINES = [
    Line(token="1", kind="hot", outcome=COMMITTED, balances={"1": 2, "2": 3}),
    Line(token="2", kind="bulk", outcome=COMMITTED, bulk=(2, 3, 5)),
    Line(token="3", kind="keys", outcome=COMMITTED, put={"a": (1, 0), "b": (2, 0)}),
    Line(token="4", kind="keys", outcome=COMMITTED, put={"c": (1, 1)}, drop=["a"]),
    Line(token="5", kind="raw", outcome=REFUSED, balances={"1": 9}),
    Line(token="6", kind="hot", outcome=UNDONE, balances={"1": 9}),
]
ACCOUNT, ENTRY, TAG = judge.TABLES


def rows() -> judge.Rows:
    """What those lines leave behind."""
    sums = {1: (2, 0), 2: (3, 5), 3: (0, 5), 4: (0, 0)}
    return {
        ACCOUNT: {
            number: {"id": number, "balance": balance, "bulk": bulk}
            for number, (balance, bulk) in sums.items()
        },
        ENTRY: {number: {"token": f"{number}", "kind": "hot"} for number in range(1, 5)}
        | {9: {"token": "6", "kind": "void"}},
        TAG: {
            code: {"place": place, "number": number}
            for code, place, number in (("b", 2, 0), ("c", 1, 1))
        },
    }


def test_what_was_committed_is_there():
    assert judge.broken(rows(), ledger.expected(LINES)) == []
    assert judge.unequal(rows(), rows()) == []


@pytest.mark.parametrize(
    ("table", "key", "column", "value", "word"),
    [
        (ACCOUNT, 1, "balance", 3, "wrong balance"),
        (ACCOUNT, 3, "bulk", 0, "wrong bulk"),
        (ENTRY, 2, "token", "other", "committed and lost"),
        (ENTRY, 9, "kind", "hot", "never committed"),
        (TAG, "b", "place", 1, "tag lost or wrong"),
    ],
    ids=["a-sum", "a-bulk-update", "a-token", "an-undone-token", "a-tag"],
)
def test_each_thing_that_is_wrong_is_seen(table, key, column, value, word):
    wrong = rows()
    wrong[table][key][column] = value

    assert any(word in each for each in judge.broken(wrong, ledger.expected(LINES)))
    assert any("differs" in each for each in judge.unequal(rows(), wrong))


@pytest.mark.parametrize("table", judge.TABLES)
def test_a_row_that_is_on_one_side_only_is_seen(table):
    fewer = deepcopy(rows())
    fewer[table].popitem()

    assert "only in legacy" in judge.unequal(rows(), fewer)[0]
    assert "only in modern" in judge.unequal(fewer, rows())[0]


def test_a_tag_that_should_be_gone_is_seen():
    more = rows()
    more[TAG]["a"] = {"place": 7, "number": 0}

    assert judge.broken(more, ledger.expected(LINES)) == ["tag too many: a"]


def test_a_pause_is_the_longest_wait_that_touches_the_switch():
    window = Window(began=10, ended=12, goal="modern", how=CALM)
    waits = [(9.9, 0.2), (11, 0.5), (11.9, 3), (8, 1), (13, 9)]

    lines = [Line(token="", kind="hot", at=at, waited=wait) for at, wait in waits]

    assert window.pause(lines) == 3
    assert window.pause(lines[:2]) == 0.5


def test_too_few_kills_prove_nothing():
    report = Report("a run", wanted=10, kills=9)
    assert report.word == "VOID"
    report.kills = 10
    assert report.word == "GOOD"
    report.troubles.append("a row was lost")
    assert report.word == "BAD"
    assert "a row was lost" in report.text(LINES)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_who_writes_slowly_holds_a_row_and_changes_nothing(kind, make_db, monkeypatch):
    alias = make_db(kind)
    url = database_url(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"CREATE TABLE {ACCOUNT} (id bigint PRIMARY KEY, bulk bigint)")
        cursor.execute(f"INSERT INTO {ACCOUNT} VALUES (1, 5), (2, 7)")
    has_written, may_end = threading.Event(), threading.Event()
    slow = SimpleNamespace(sleep=may_end.wait)
    monkeypatch.setattr(judge, "time", slow)
    thread = threading.Thread(target=judge.write_slowly, args=(url, has_written, 60))
    thread.start()
    assert has_written.wait(60)
    claim = f"SELECT id FROM {ACCOUNT} ORDER BY id FOR UPDATE SKIP LOCKED"

    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(claim)
        free = [number for (number,) in cursor.fetchall()]
    may_end.set()
    thread.join()

    assert free == [1]
    found = judge.query(url, f"SELECT id, bulk FROM {ACCOUNT} ORDER BY id")
    assert found == [{"id": 1, "bulk": 5}, {"id": 2, "bulk": 7}]


def test_each_point_and_each_mutant_finds_what_it_breaks():
    code = (
        "import os\n"
        "from tests.torture.moves import mutants, points\n"
        "for each in mutants.MUTANTS.values():\n"
        "    if not (child := os.fork()):\n"
        "        each.apply()\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "for each in points.POINTS: points.arm(f'die:{each}:1')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.torture.moves.settings",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert done.returncode == 0, done.stderr
