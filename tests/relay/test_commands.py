"""The doors: progress, replay_events, prune_outbox, and what the reference says."""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import subprocess
import sys
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from django_strangler.brokers import memory
from django_strangler.models import OutboxEvent
from django_strangler.outbox import retention
from tests.relay.factories import events, make_relay, pending, publish
from tests.relay.processes import environment
from tests.waiting import wait_for

REFERENCE = Path(__file__).parents[2] / "docs/reference/commands.md"
COMMANDS = ["drain_outbox", "prune_outbox", "replay_events"]


def run(name: str, *arguments: str, using: str) -> str:
    out = StringIO()
    call_command(name, *arguments, "--database", using, stdout=out)
    return out.getvalue()


# drain_outbox


def test_once_in_this_process(sqlite_db: str, far: memory.MemoryExchange) -> None:
    publish(sqlite_db, "a", "b")
    far.bind("mail", "#")
    url = next(url for url, each in memory._exchanges.items() if each is far)

    with override_settings(STRANGLER={"BROKER_URL": url}):
        said = run("drain_outbox", "--once", using=sqlite_db)

    assert said == f"{sqlite_db}: confirmed 2 events.\n"
    assert pending(sqlite_db) == 0


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(
    postgresql_db: str, tmp_path: Path
) -> None:
    for _ in range(20):
        publish(postgresql_db, *[f"k{n % 10}" for n in range(500)])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "drain_outbox", "--once", "--window", "100"],
        env=environment(postgresql_db, tmp_path),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and select.select([ours], [], [], 120)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # The other end was closed.
            break
        if not part:
            break
        shown += part
    os.close(ours)

    assert process.wait(60) == 0
    text = shown.decode()
    assert re.search(r"█+·+ [\d,]+ of 10,000, [\d,]+/s, \d+ s left", text)
    assert re.search(r"█{30} 10,000 of 10,000, [\d,]+/s", text)
    assert "confirmed 10,000 events." in text


def test_elsewhere_there_is_one_line_per_interval(
    postgresql_db: str, start_drain
) -> None:
    drain = start_drain(postgresql_db, "--log-interval", "0.1")
    publish(postgresql_db, *["a"] * 50)
    wait_for(lambda: not pending(postgresql_db))
    wait_for(lambda: "default: confirmed" in drain.output)
    drain.terminate()

    first = drain.output.partition("\n")[0]
    assert re.fullmatch(r"Draining 'default' to \S+\. Ctrl-C ends it\.", first)
    assert re.search(r": confirmed \d+ events?, [\d,]+/s; parked 0", drain.output)
    assert "\r" not in drain.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lease", "nan"],
        ["--lease", "0.1"],
        ["--window", "-1"],
        ["--batch-size", "x"],
        ["--log-interval", "0"],
        ["--rate", "-1"],
    ],
)
def test_wrong_options_are_named(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=arguments[0]):
        call_command("drain_outbox", *arguments)


# replay_events


@pytest.fixture
def parked(sqlite_db: str, far: memory.MemoryExchange) -> list[int]:
    """Parked: two of payments, one of users; confirmed: one of payments."""
    far.bind("audit", "audit.*")
    rows = publish(sqlite_db, "a", "b")
    rows += publish(sqlite_db, "a", type="user.created")
    make_relay(sqlite_db, far).drain()
    far.bind("all", "#")
    rows += publish(sqlite_db, "a")
    make_relay(sqlite_db, far).drain()
    far.sent.clear()
    return rows


def replayed(alias: str) -> list[int]:
    return [row for row, event in events(alias).items() if event.state == "pending"]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["--unroutable"], [0, 1, 2]),
        (["--type", "payment.*"], [0, 1]),
        (["--type", "#"], [0, 1, 2]),
        (["--key", "a"], [0, 2]),
        (["--key", "a", "--type", "user.#"], [2]),
        (["--reason", "rejected"], []),
        (["--since", "2020-01-01T00:00"], [0, 1, 2]),
        (["--until", "2020-01-01T00:00Z"], []),
        (["--confirmed", "--type", "#"], [3]),
    ],
)
def test_replays_what_was_asked_for_and_no_more(
    sqlite_db: str, parked: list[int], arguments: list[str], chosen: list[int]
) -> None:
    run("replay_events", "--no-input", *arguments, using=sqlite_db)

    assert replayed(sqlite_db) == [parked[n] for n in chosen]


def test_replays_by_id_and_keeps_it(any_db: str, far: memory.MemoryExchange) -> None:
    rows = publish(any_db, "a", "b")
    far.bind("audit", "audit.*")
    make_relay(any_db, far).drain()
    wanted = events(any_db)[rows[1]].event_id
    far.bind("all", "#")

    run("replay_events", "--no-input", "--id", str(wanted), using=any_db)
    make_relay(any_db, far).drain()

    assert [event.id for event in far.sent] == [str(wanted)]
    again = events(any_db)[rows[1]]
    assert (again.state, again.attempts, again.last_error) == ("confirmed", 0, "")


def test_shows_first_what_it_would_do(sqlite_db: str, parked: list[int]) -> None:
    said = run("replay_events", "--type", "#", "--dry-run", using=sqlite_db)

    assert "2  payment.completed  unroutable" in said
    assert "1  user.created  unroutable" in said
    assert replayed(sqlite_db) == []


@pytest.mark.parametrize(("answer", "count"), [("y", 3), ("n", 0), ("", 0)])
def test_asks_before_it_does_it(
    sqlite_db: str,
    parked: list[int],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    count: int,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)

    run("replay_events", "--unroutable", using=sqlite_db)

    assert len(replayed(sqlite_db)) == count


def test_nobody_to_ask_is_an_error(sqlite_db: str, parked: list[int]) -> None:
    with pytest.raises(CommandError, match="--no-input"):
        run("replay_events", "--unroutable", using=sqlite_db)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--type", "payment..x"],
        ["--confirmed", "--unroutable"],
        ["--since", "soon"],
    ],
)
def test_a_replay_of_nothing_in_particular_is_refused(
    sqlite_db: str, arguments: list[str]
) -> None:
    with pytest.raises(CommandError):
        run("replay_events", "--no-input", *arguments, using=sqlite_db)


def test_look_alikes_of_a_key_are_not_replayed(
    mariadb_db: str, far: memory.MemoryExchange
) -> None:
    rows = publish(mariadb_db, "order-ab1", "order-Ab1", "order-ab1 ")
    make_relay(mariadb_db, far).drain()

    run(
        "replay_events",
        "--no-input",
        "--confirmed",
        "--key",
        "order-ab1",
        using=mariadb_db,
    )

    assert replayed(mariadb_db) == rows[:1]


def test_a_pending_event_keeps_its_attempts(sqlite_db: str, parked: list[int]) -> None:
    OutboxEvent.objects.using(sqlite_db).filter(pk=parked[0]).update(
        parked_at=None, attempts=4
    )

    run("replay_events", "--no-input", "--type", "#", using=sqlite_db)

    assert events(sqlite_db)[parked[0]].attempts == 4


# prune_outbox


@pytest.mark.django_db
def test_prunes_old_confirmed_rows_and_nothing_else(any_db: str) -> None:
    rows = publish(any_db, *["a"] * 6)
    old = timezone.now() - timedelta(days=8)
    everything = OutboxEvent.objects.using(any_db)
    everything.filter(pk__in=rows[:2]).update(confirmed_at=old)
    everything.filter(pk=rows[2]).update(confirmed_at=timezone.now())
    everything.filter(pk=rows[3]).update(parked_at=old, parked_reason="rejected")
    everything.filter(pk__in=rows[4:]).update(published_at=old)

    said = run("prune_outbox", using=any_db)

    assert said.splitlines()[0] == "Confirmed events deleted: 2."
    assert list(events(any_db)) == rows[2:]


@pytest.mark.django_db
def test_parked_events_are_pruned_when_that_is_asked_for(any_db: str) -> None:
    rows = publish(any_db, *["a"] * 6)
    old = timezone.now() - timedelta(days=8)
    everything = OutboxEvent.objects.using(any_db)
    everything.filter(pk__in=rows[:3]).update(parked_at=old, parked_reason="rejected")
    everything.filter(pk=rows[3]).update(parked_at=timezone.now())
    everything.filter(pk=rows[4]).update(published_at=old)

    assert "parked" not in run("prune_outbox", using=any_db)
    assert list(events(any_db)) == rows
    said = run("prune_outbox", "--parked-days", "7", using=any_db)

    assert said.splitlines()[-1] == "Parked events deleted: 3."
    assert list(events(any_db)) == rows[3:]


def test_prunes_in_small_batches_all_of_them(any_db: str) -> None:
    """Also where many have the same time, as one mark makes it."""
    publish(any_db, *["a"] * 50)
    old = timezone.now() - timedelta(days=8)
    OutboxEvent.objects.using(any_db).update(confirmed_at=old)

    batches = list(retention.prune(any_db, older_than=60, batch=20))

    assert batches == [20, 20, 10]
    assert not events(any_db)


def test_a_row_that_is_replayed_meanwhile_is_not_pruned(sqlite_db: str) -> None:
    rows = publish(sqlite_db, "a", "b")
    old = timezone.now() - timedelta(days=8)
    OutboxEvent.objects.using(sqlite_db).update(confirmed_at=old)
    pruning = retention.prune(sqlite_db, older_than=60, batch=1)
    next(pruning)
    OutboxEvent.objects.using(sqlite_db).update(confirmed_at=None)

    assert sum(pruning) == 0
    assert list(events(sqlite_db)) == rows[1:]


def test_pruning_takes_a_transaction_for_each_batch(
    postgresql_db: str, mariadb_db: str
) -> None:
    """So no lock is held for long: another transaction gets to any row in between."""
    for alias in (postgresql_db, mariadb_db):
        publish(alias, *["a"] * 20)
        old = timezone.now() - timedelta(days=8)
        OutboxEvent.objects.using(alias).update(confirmed_at=old)
        other = connections[alias].copy()
        for _ in retention.prune(alias, older_than=60, batch=10):
            with other.cursor() as cursor:
                table = OutboxEvent._meta.db_table
                cursor.execute(f"UPDATE {table} SET attempts = 1")
        other.close()
        assert not events(alias)


# The reference


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_names_each_option(name: str) -> None:
    parser = load_command_class("django_strangler", name).create_parser("", name)
    sections = re.split(r"^## ", REFERENCE.read_text(), flags=re.MULTILINE)
    (section,) = [each for each in sections if each.startswith(f"`{name}`")]
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section, flags=re.MULTILINE))

    assert documented == own_options(parser)


def own_options(parser: argparse.ArgumentParser) -> set[str]:
    djangos = {
        "--help --version --verbosity --settings --pythonpath --traceback "
        "--no-color --force-color --skip-checks"
    }
    return {
        action.option_strings[-1]
        for action in parser._actions
        if action.option_strings and action.option_strings[-1] not in str(djangos)
    }
