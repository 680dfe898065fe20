"""Real processes: killed, paused, stopped, taken over."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connections

from django_strangler.models import Lane, RelayProcess
from tests.relay.factories import pending, publish
from tests.relay.processes import Drain, arrived, out_of_order
from tests.services.databases import database_url
from tests.waiting import wait_for

StartDrain = Callable[..., Drain]


def lanes_held(alias: str) -> int:
    return Lane.objects.using(alias).exclude(relay=None).count()


def has_lanes(alias: str, drain: Drain) -> bool:
    relays = RelayProcess.objects.using(alias).filter(name__endswith=f":{drain.pid}")
    tokens = list(relays.values_list("token", flat=True))
    return Lane.objects.using(alias).filter(relay__in=tokens).exists()


def test_four_relays_and_two_kills_lose_nothing_and_keep_the_order(
    postgresql_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    drains = [
        start_drain(postgresql_db, "--lease", "3", "--window", "200") for _ in range(4)
    ]
    wait_for(lambda: all(has_lanes(postgresql_db, each) for each in drains))
    rows: list[int] = []

    for part in range(40):
        rows += publish(postgresql_db, *[f"k{n % 200}" for n in range(500)])
        if part in (12, 25):
            drains.pop().kill()

    wait_for(lambda: not pending(postgresql_db), 120)
    lines = arrived(tmp_path)
    assert {line.row for line in lines} == set(rows)
    assert len(rows) == 20_000
    assert not out_of_order(lines)
    # By G8, a window for each loss.
    assert len(lines) <= len(rows) + 2 * 200


def test_a_killed_relay_is_taken_over_within_its_lease_and_two_seconds(
    postgresql_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    lease = 3

    def takes() -> float:
        dead = start_drain(postgresql_db, "--lease", str(lease))
        wait_for(lambda: has_lanes(postgresql_db, dead))
        heir = start_drain(postgresql_db, "--lease", str(lease))
        wait_for(lambda: has_lanes(postgresql_db, heir))

        dead.kill()
        killed = time.monotonic()
        publish(postgresql_db, *[f"k{n}" for n in range(200)])
        wait_for(lambda: not pending(postgresql_db))

        taken = time.monotonic() - killed
        heir.terminate()
        return taken

    # A machine that stands still meanwhile gets another try.
    assert any(takes() < lease + 2 for _ in range(5))


def test_sigterm_gives_the_lanes_back_at_once(
    mariadb_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    drain = start_drain(mariadb_db)
    wait_for(lambda: lanes_held(mariadb_db) == 32)

    took = drain.terminate(signal.SIGTERM)

    assert drain.process.returncode == 0
    assert took < 10
    assert lanes_held(mariadb_db) == 0
    assert not RelayProcess.objects.using(mariadb_db).exists()


def test_sigint_stops_one_that_waits_for_confirms(
    postgresql_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    (tmp_path / "mute").touch()
    rows = publish(postgresql_db, "a", "b")

    def gives_lanes_back() -> bool:
        drain = start_drain(postgresql_db)
        wait_for(lambda: [it.pid for it in arrived(tmp_path)].count(drain.pid) == 2)

        took = drain.terminate(signal.SIGINT)

        assert (drain.process.returncode, took < 10) == (0, True), drain.output
        return lanes_held(postgresql_db) == 0

    # It is ended after two seconds, of which it waits for the better part: a machine
    # that stands still meanwhile gets another try.
    assert any(gives_lanes_back() for _ in range(5))
    assert pending(postgresql_db) == len(rows)


def test_sigterm_does_not_wait_for_a_database_that_hangs(
    private_postgresql, make_db, tmp_path: Path, start_drain: StartDrain
) -> None:
    alias = make_db(private_postgresql)
    drain = start_drain(alias)
    publish(alias, "a")
    wait_for(lambda: not pending(alias))  # From now on it asks every 10 ms.
    private_postgresql.pause()
    try:
        took = drain.terminate()
    finally:
        private_postgresql.resume()

    assert (drain.process.returncode, took < 10) == (0, True), drain.output


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"])
def test_a_paused_relay_that_wakes_up_keeps_the_order(
    vendor: str, make_db, tmp_path: Path, start_drain: StartDrain
) -> None:
    alias = make_db(vendor)
    first = start_drain(alias, "--lease", "1")
    wait_for(lambda: lanes_held(alias) == 32)
    rows = publish(alias, *[f"k{n % 20}" for n in range(3000)])
    wait_for(lambda: arrived(tmp_path))
    first.pause()
    second = start_drain(alias, "--lease", "1")
    wait_for(lambda: has_lanes(alias, second))
    rows += publish(alias, *[f"k{n % 20}" for n in range(1000)])
    first.resume()

    wait_for(lambda: not pending(alias))

    lines = arrived(tmp_path)
    assert {line.row for line in lines} == set(rows)
    assert not out_of_order(lines)


def test_two_databases_in_one_process(
    make_db, tmp_path: Path, start_drain: StartDrain
) -> None:
    one, other = make_db("postgresql"), make_db("mariadb")
    publish(one, "a", "b")
    publish(other, "a", "b", "c")
    drain = start_drain(
        one,
        *("--database", "default", "--database", "other"),
        DJANGO_SETTINGS_MODULE="tests.relay.two_databases",
        OTHER_DATABASE_URL=database_url(other),
    )

    wait_for(lambda: not pending(one) and not pending(other))
    took = drain.terminate()

    assert (drain.process.returncode, took < 10) == (0, True), drain.output
    assert "default: confirmed 2 events" in drain.output
    assert "other: confirmed 3 events" in drain.output


def test_once_drains_and_says_what_it_did(
    sqlite_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    publish(sqlite_db, "a", "b", "")
    drain = start_drain(sqlite_db, "--once")

    drain.process.wait(90)

    assert drain.process.returncode == 0
    assert "default: confirmed 3 events." in drain.output


def test_once_says_what_others_hold(
    postgresql_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    start_drain(postgresql_db)
    wait_for(lambda: lanes_held(postgresql_db) == 32)

    drain = start_drain(postgresql_db, "--once")
    drain.process.wait(90)

    assert drain.process.returncode == 0
    assert "32 lanes are held by other relays" in drain.output
    assert lanes_held(postgresql_db) == 32


def test_exit_codes(
    postgresql_db: str, tmp_path: Path, start_drain: StartDrain
) -> None:
    publish(postgresql_db, "a")
    (tmp_path / "down").touch()
    unreachable = start_drain(postgresql_db, "--once", "--patience", "0.2")
    wrong = start_drain(postgresql_db, "--once", "--window", "0")
    unknown = start_drain(postgresql_db, "--once", "--database", "nowhere")
    nobody = start_drain(
        postgresql_db,
        "--once",
        "--patience",
        "0.2",
        DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/nothing",
    )
    drains = [unreachable, wrong, unknown, nobody]
    for drain in drains:
        drain.process.wait(90)

    assert [drain.process.returncode for drain in drains] == [4, 2, 2, 1]
    assert all("Traceback" not in drain.output for drain in drains)
    assert "it is down" in unreachable.output
    assert "'nowhere'" in unknown.output


def test_a_database_that_is_gone_is_waited_for_and_logged_once(
    private_postgresql, make_db, tmp_path: Path, start_drain: StartDrain
) -> None:
    alias = make_db(private_postgresql)
    drain = start_drain(alias, "--lease", "2")
    wait_for(lambda: lanes_held(alias) == 32)
    connections[alias].close()

    private_postgresql.kill()
    wait_for(lambda: "failed; the relay waits for it" in drain.output)
    private_postgresql.start()
    connections[alias].close()
    rows = publish(alias, "a", "b")

    wait_for(lambda: not pending(alias))
    assert {line.row for line in arrived(tmp_path)} == set(rows)
    assert drain.output.count("failed; the relay waits for it") == 1
    assert "Traceback" not in drain.output
