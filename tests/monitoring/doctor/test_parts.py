"""Settings, clocks, relays, consumers, flags: what is wrong is named, and its cure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timedelta
from io import StringIO

from django.core.management import call_command
from django.db import connections

from django_strangler import feature_flags
from django_strangler.inbox.subscribers import Subscriber
from django_strangler.models import Pause
from django_strangler.monitoring import state as state_module
from django_strangler.outbox.pauses import pause
from tests.monitoring.factories import add, add_consumer, add_held, add_relay
from tests.relay.processes import environment

from .conftest import only_trouble, troubles


def test_a_sound_set_up_is_fine_in_every_part(each_sound, examine):
    found = examine(each_sound)

    assert not troubles(found)
    # Apps have more.
    assert {it.part for it in found if it.level.value == "fine"} >= {
        "settings",
        "database",
        "broker",
        "clocks",
        "relays",
        "flags",
    }


def test_a_wrong_setting(sqlite_db, examine):
    add_relay(sqlite_db)

    part, what, _ = only_trouble(examine(sqlite_db, RETENTON=5))

    assert part == "settings"
    assert "unknown key 'RETENTON'. Did you mean 'RETENTION'?" in what


def test_sqlite_that_cannot_have_two_writers(make_db, examine, tmp_path):
    alias = make_db("sqlite", transaction_mode="DEFERRED")
    add_relay(alias)

    part, what, todo = only_trouble(examine(alias))

    assert (part, "database is locked" in what) == ("settings", True)
    assert '"transaction_mode": "IMMEDIATE"' in todo


def test_clocks_that_disagree(sound, examine, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, zone):
            return datetime.now(zone) + timedelta(seconds=420)

    monkeypatch.setattr(state_module, "datetime", Ahead)

    part, what, todo = only_trouble(examine(sound))

    assert part == "clocks"
    assert re.search(r"4(19|20)\.\d s ahead", what)  # Less what the question took.
    assert "set-ntp" in todo


def test_a_relay_that_died(sqlite_db, examine):
    add_relay(sqlite_db, left=-7200)

    assert only_trouble(examine(sqlite_db)) == (
        "relays",
        "The relay web-1:17 died, 2 h ago",
        "Start one: manage.py drain_outbox",
    )


def test_a_type_that_is_held(sound, examine):
    add_held(sound)

    part, what, todo = only_trouble(examine(sound))

    assert (part, what) == (
        "relays",
        "The type 'payment.completed' is held for 5 min: A queue is full",
    )
    assert "Make room in its queue" in todo


def test_what_is_paused(sound, examine):
    pause(Pause.Scope.TYPE, "payment.completed", why="refunds", using=sound)

    part, what, todo = only_trouble(examine(sound))

    assert part == "relays"
    assert "'payment.completed' is paused for" in what
    assert todo.endswith("manage.py drain_outbox --resume payment.completed")


def test_parked_for_want_of_a_queue_that_is_there_now(sound, examine):
    add(sound, parked=600, parked_reason="unroutable")
    _, what, todo = only_trouble(examine(sound))
    assert "because no queue was bound" in what
    assert todo.startswith("Bind its queue, then run")

    add_consumer(sound)
    part, what, todo = only_trouble(examine(sound))
    assert part == "broker"
    assert "the queue 'receipts' has wanted for" in what
    assert todo.startswith("A replay would now succeed: manage.py replay_events")


def test_a_consumer_that_is_missing_or_older_than_the_code(
    rabbit, postgresql_db, examine, registry
):
    def handler(event):
        """Nothing."""

    def subscriber(name: str, pattern: str) -> Subscriber:
        return Subscriber(name=name, patterns=(pattern,), flag=None, handler=handler)

    add_consumer(postgresql_db, left=-60)
    registry.add(subscriber("receipts", "payment.*"))
    part, what, todo = only_trouble(examine(postgresql_db, **rabbit))
    assert (part, todo) == ("consumers", "manage.py consume_events --queue NAME")
    assert "bound for payment.*" in what

    add_consumer(postgresql_db)
    assert not troubles(examine(postgresql_db, **rabbit))

    registry.add(subscriber("greetings", "user.*"))
    _, what, todo = only_trouble(examine(postgresql_db, **rabbit))
    assert "bound for user.*, which the subscriber 'greetings' wants" in what
    assert todo == "manage.py consume_events --queue receipts (start it anew)"


def test_a_flag_that_does_not_exist(sound, examine, registry):
    registry.add(
        Subscriber(
            name="mails", patterns=("a.*",), flag="mails-v2", handler=lambda event: None
        )
    )

    part, what, todo = only_trouble(examine(sound))

    assert (part, "'mails-v2', which does not exist" in what) == ("flags", True)
    assert todo == "manage.py flag set mails-v2 0"
    feature_flags.set_rollout("mails-v2", 0)
    assert not troubles(examine(sound))


def test_a_database_that_is_away_is_one_trouble(sqlite_db, examine, monkeypatch):
    connection = connections[sqlite_db]
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", "/nowhere/at/all")

    found = examine(sqlite_db)

    assert only_trouble(found) == (
        "database",
        "The database cannot be used: unable to open database file",
        f"Start it, or correct DATABASES[{sqlite_db!r}]",
    )
    unknown = [it.part for it in found if it.level.value == "unknown"]
    assert unknown == ["broker", "clocks", "relays", "consumers", "flags"]
    assert [it.what for it in found if (it.part, it.level.value) == ("broker", "fine")]


def test_what_fails_spoils_only_its_part(sqlite_db, examine):
    add_relay(sqlite_db)
    with connections[sqlite_db].cursor() as cursor:
        cursor.execute("DROP TABLE strangler_flag")

    part, what, _ = only_trouble(examine(sqlite_db))

    assert (part, "no such table" in what) == ("flags", True)


# The command


def test_the_command_says_it_in_lines_or_in_json(sqlite_db, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", "strangler_doctor", *arguments],
            env={**environment(sqlite_db, tmp_path), "BROKER_URL": "local://"},
            capture_output=True,
            text=True,
            timeout=180,
        )

    lines = run()
    assert lines.returncode == 1
    assert "TROUBLE relays    No relay was ever seen.\n" in lines.stdout
    assert "-> Start one: manage.py drain_outbox\n" in lines.stdout
    assert not lines.stderr

    found = json.loads(run("--json").stdout)
    assert found["ok"] is False
    assert {"part", "level", "what", "todo"} == set(found["findings"][0])


def test_all_well_exits_with_0(sound, examine, routed, registry):
    routed(sound)
    out = StringIO()

    call_command("strangler_doctor", "--database", sound, stdout=out)

    assert out.getvalue().endswith("All is well.\n")
