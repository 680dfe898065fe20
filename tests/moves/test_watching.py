"""What people see of a move: commands, board, doctor, page, alert, evidence."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections import Counter
from importlib import import_module

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.utils import ConnectionRouter
from django.template.loader import render_to_string
from notifications.models import EmailLog
from payments.models import LedgerEntry, Payment, Payout, Refund
from users.models import User

from django_strangler import domains, evidence
from django_strangler.announcing import Announcer
from django_strangler.clock import DatabaseNow
from django_strangler.findings import Level
from django_strangler.models import Guard, Incident, OutboxEvent
from django_strangler.moves import (
    Move,
    OutsideMove,
    Router,
    Table,
    atomic,
    checking,
    checks,
    counts,
    differences,
    model,
    mover,
    reading,
    syncing,
    using,
    watching,
    working,
)
from django_strangler.moves.capturing import captures
from django_strangler.moves.directions import direction_of
from django_strangler.moves.exceptions import InvalidMove, MoveRefused, UnknownMove
from django_strangler.moves.models import Mark, MoveState
from django_strangler.moves.models import Mover as MoverRow
from django_strangler.moves.mover import Mover
from django_strangler.moves.sides import mariadb, postgresql, side_of
from django_strangler.moves.status import status
from django_strangler.moves.working import Batch

from .conftest import Pair, attend, drop_foreign_keys, pay


@pytest.fixture
def moved(make_pair) -> Pair:
    """A move that follows, on PostgreSQL."""
    pair = make_pair("postgresql")
    pay(pair.legacy, 20)
    pair.start()
    pair.follow()
    return pair


def say(*arguments: str) -> str:
    out = io.StringIO()
    call_command("strangler_moves", *arguments, stdout=out)
    return out.getvalue()


def panel() -> str:
    """What the admin's page has of moves."""
    data = {"data": watching.PANEL.data(None)}
    return render_to_string(watching.PANEL.template, data)


def spoil(pair: Pair, number: int = 1) -> None:
    side = direction_of(pair.move).target
    with side.writing():
        side.run(
            "UPDATE payments_payment SET status = 'failed' WHERE id IN "
            "(SELECT id FROM payments_payment ORDER BY id LIMIT %s)",
            [number],
        )


def test_differences_are_told_once_until_they_are_gone(moved):
    spoil(moved)
    moved.verify()
    spoil(moved, 2)
    moved.verify()

    alerts = OutboxEvent.objects.using(moved.legacy).filter(type="migration.alert")
    assert [each.payload["source"] for each in alerts] == ["move:payments"]
    assert moved.verify(repair=True) == 0
    spoil(moved)
    moved.verify()
    assert alerts.all().count() == 2


def test_a_mover_validates_in_rotation_and_counts_it_as_evidence(moved):
    spoil(moved)
    moved.state().update(verified_at=None, validated={})

    moved.follow(lambda: moved.state().get().verified_at is not None)

    seen = evidence.seen("move:payments")["modern"]
    assert seen.failed == 1
    assert seen.checked >= 20
    assert len(differences.known(moved.move)) == 1


@pytest.mark.parametrize("pair", ["postgresql", "mariadb-postgresql"], indirect=True)
def test_marks_wait_for_few_rows_that_are_validated(pair):
    many = [Payment(user_id=1, amount="1.00") for _ in range(1500)]
    Payment.objects.using(pair.legacy).bulk_create(many)
    pair.start()
    pair.follow()
    pair.state().update(validated={}, verified_at=None)

    Mover(pair.move).step()

    assert pair.state().get().validated["rows"] == 1000


def test_board_and_doctor_hold_while_rows_differ(moved):
    attend("payments", moved.legacy)
    assert [each.level for each in watching.find()] == [Level.FINE]
    (shown,) = watching.shown()
    assert shown.hold == ()
    assert shown.next == "manage.py strangler_moves switch payments --to modern"

    spoil(moved)
    moved.verify()

    assert [each.text for each in watching.find()] == ["payments: 1 row is different."]
    (shown,) = watching.shown()
    assert shown.hold == ("In the move payments, 1 row is different.",)
    (row,) = watching.PANEL.data(None)["rows"]
    assert row["copied"] == 100
    assert [each.kind for each in row["differences"]] == ["differs"]


def test_doctor_status_and_metrics_say_that_nobody_follows(moved):
    (found,) = watching.find()
    assert (found.level, found.text) == (
        Level.TROUBLE,
        "No mover follows payments.",
    )
    assert say("status", "payments").endswith("; no mover follows it\n")
    assert watching._Followed()() == {"payments": (0, "")}
    page = panel()
    assert "<strong>none</strong>" in page

    hold = attend("payments", moved.legacy)

    assert [each.level for each in watching.find()] == [Level.FINE]
    assert watching._Followed()() == {"payments": (1, "")}
    assert not say("status", "payments").endswith("; no mover follows it\n")
    hold.leave()
    pay(moved.legacy, 1)
    side = direction_of(moved.move).source
    side.run("UPDATE strangler_moves_mark SET at = at - INTERVAL '1 hour'")
    (found,) = watching.find()
    assert re.fullmatch(
        r"No mover follows payments\. It is 36\d\d s behind\.", found.text
    )


def test_a_mover_that_stands_still_says_why(moved, settings):
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": {"LEASE": 600.0}}
    side, mover = direction_of(moved.move).source, Mover(moved.move)
    mover.step()
    assert [each.level for each in watching.find()] == [Level.FINE]
    side.run(
        "INSERT INTO strangler_moves_mark (move, tab, key, at) "
        "VALUES ('payments', 'shop.gone', '[1]', now())"
    )

    mover.step()

    (found,) = watching.find()
    assert (found.level, found.text) == (Level.TROUBLE, "payments stands still.")
    assert "There are marks of shop.gone" in found.todo
    assert "; stands still: There are marks of shop.gone" in say("status", "payments")
    ((_, why),) = watching._Followed()().values()
    assert "There are marks of shop.gone" in why
    page = panel()
    assert "1, stands still: There are marks of shop.gone" in page

    side.run("DELETE FROM strangler_moves_mark")
    mover.step()

    assert [each.level for each in watching.find()] == [Level.FINE]
    assert watching._Followed()() == {"payments": (1, "")}


class Alone(working.Worker):
    """One that needs no database."""

    what = "move"

    def __init__(self, name: str) -> None:
        self.name = name

    def recover(self) -> None: ...

    def keep(self) -> None: ...

    def leave(self) -> None: ...


def test_one_that_fails_does_not_hold_up_the_others(monkeypatch):
    stop, steps = threading.Event(), Counter()

    class Failing(Alone):
        def step(self) -> float:
            steps[self.name] += 1
            if self.name == "bad":
                raise ValueError("a function of the project's own")
            if steps["good"] == 50:
                stop.set()
            return 0.0

        def stand_still(self, error: Exception) -> float:
            steps["told"] += 1
            return 1.0

    monkeypatch.setattr(mover, "_worker", Failing)
    monkeypatch.setattr(mover, "registry", {"good": None, "bad": None})
    began = time.monotonic()

    mover.run(stop)

    assert steps["good"] == 50
    # Once a second; the good one would take 50 s beside it.
    assert 1 <= steps["bad"] <= 2 + (time.monotonic() - began)
    assert steps["told"] == steps["bad"]


@pytest.mark.parametrize("stage", ["copying", "following"])
def test_a_mover_does_less_at_once_where_databases_are_slow(moved, monkeypatch, stage):
    moved.state().update(stage=stage, progress={})
    clock, chunks = [1000.0], []
    slow = Mover(moved.move, monotonic=lambda: clock[0])
    each = 0.01  # Seconds for a mark.

    def follow(direction, chunk, most, **more):
        chunks.append(chunk)
        done = min(most, 4 * chunk)
        clock[0] += done * each
        return done, {}

    monkeypatch.setattr(syncing, "follow", follow)
    for _ in range(6):
        slow.step()
    assert chunks == [500, 250, 125, 100, 100, 100]

    each = 0.0001
    for _ in range(6):
        slow.step()

    assert chunks[6:] == [100, 200, 400, 800, 1600, 2000]


def test_nobody_ever_does_more_at_once_than_is_allowed():
    batch = Batch(1000, most=20)

    batch.fit(20, took=1.0)
    assert batch.size == 20
    batch.fit(20, took=0.0)
    assert batch.size == 20


def test_a_batch_that_is_not_full_says_only_that_it_was_too_much():
    batch = Batch(500, most=2000)

    batch.fit(499, took=0.01)
    assert batch.size == 500
    batch.fit(499, took=10.0)
    assert batch.size == 250
    batch.fit(2000, took=10.0)  # 1.25 s for each 250.
    assert batch.size == 125
    batch.fit(2000, took=0.3)
    assert batch.size == 250


def test_one_who_waits_for_a_lock_is_still_there(moved):
    hold = attend("payments", moved.legacy)
    row = MoverRow.objects.using(moved.legacy)

    row.filter(token=hold.token).update(expires_at=DatabaseNow(-4))
    assert [each.level for each in watching.find()] == [Level.FINE]

    row.filter(token=hold.token).update(expires_at=DatabaseNow(-60))
    (found,) = watching.find()
    assert found.text == "No mover follows payments."


def test_a_step_that_is_long_keeps_the_holds_of_the_others(monkeypatch):
    order, stop = [], threading.Event()

    class Slow(Alone):
        def keep(self) -> None:
            order.append(f"keep {self.name}")

        def step(self) -> float:
            order.append(self.name)
            if len(order) > 4:
                stop.set()
            return 0.0

    workers = {name: Slow(name) for name in ("one", "two")}
    monkeypatch.setattr(mover, "registry", dict.fromkeys(workers))
    monkeypatch.setattr(mover, "captures", {})
    monkeypatch.setattr(mover, "_worker", workers.get)

    mover.run(stop)

    assert order[:5] == ["one", "keep one", "two", "keep one", "keep two"]


def test_a_row_that_the_target_does_not_take_is_told(make_pair, settings):
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": {"LEASE": 600.0}}
    pair = make_pair("postgresql")
    pay(pair.legacy, 3)
    side_of("payments", pair.modern).run(
        "ALTER TABLE payments_payment ADD CONSTRAINT never CHECK (amount < 0)"
    )
    pair.start()
    worker, trouble = Mover(pair.move), Announcer(working.logger)

    for _ in range(5):
        mover._stepped(worker, trouble)

    assert status(pair.move).trouble == "IntegrityError; see its log."
    side_of("payments", pair.modern).run(
        "ALTER TABLE payments_payment DROP CONSTRAINT never"
    )
    mover._stepped(worker, trouble)
    assert status(pair.move).trouble == ""


def test_a_mover_that_is_second_says_nothing_of_the_lag(moved, settings):
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": {"LEASE": 600.0}}
    first, second = Mover(moved.move), Mover(moved.move)
    first.step()
    assert counts.lags[("payments",)] == 0
    counts.lags[("payments",)] = 45.0  # From when it was first.

    second.step()

    assert ("payments",) not in counts.lags


def test_the_pace_set_by_hand_outlives_a_new_beginning(moved):
    say("pace", "payments", "0.1")
    say("abandon", "payments")

    say("start", "payments")

    assert moved.state().get().share == 0.1


def test_one_that_cannot_be_looked_at_takes_no_other_from_the_page(moved, monkeypatch):
    def gone(name: str) -> None:
        raise MoveRefused("There is no model shop.Gone.")

    monkeypatch.setitem(captures, "gone", None)
    monkeypatch.setattr(watching.capturer, "status", gone)

    page = panel()

    assert "gone cannot be looked at: There is no model shop.Gone." in page
    assert "<td>payments</td>" in page


def test_metrics_leave_a_requests_connection_as_it_is(moved):
    connection = connections[moved.legacy]
    with connection.cursor() as cursor:
        cursor.execute("SET application_name = 'a request'")

    watching._Followed()()

    with connection.cursor() as cursor:
        cursor.execute("SHOW application_name")
        assert cursor.fetchone() == ("a request",)


def test_the_index_of_marks_keeps_no_writer_waiting(moved):
    out = io.StringIO()
    for app, name in (("strangler_moves", "0004"), ("strangler", "0008")):
        call_command("sqlmigrate", app, name, database=moved.legacy, stdout=out)

    assert out.getvalue().count("CREATE INDEX CONCURRENTLY") == 2


def test_what_a_projects_function_raises_is_told_without_its_words(moved, settings):
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": {"LEASE": 600.0}}
    mover = Mover(moved.move)
    mover.step()

    mover.stand_still(ValueError("the card 4111 1111 1111 1111"))

    assert status(moved.move).trouble == "ValueError; see its log."


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_marks_of_one_that_stands_still_are_not_read_for_another(kind, make_pair):
    pair = make_pair(kind)
    marks = Mark.objects.using(pair.legacy)
    stuck = [Mark(move="stuck", tab="a.b", key=f"[{n}]") for n in range(20_000)]
    marks.bulk_create(stuck, batch_size=2000)
    marks.create(move="payments", tab="payments.payment", key="[1]")
    side, plans = side_of("payments", pair.legacy), []
    fetch = side.fetch

    def explained(sql: str, params: list[object]) -> list[tuple]:
        if kind == "postgresql":
            plans.extend(fetch(f"EXPLAIN ANALYZE {sql}", params))
        elif kind == "sqlite":
            plans.extend(fetch(f"EXPLAIN QUERY PLAN {sql}", params))
        else:
            side.run("FLUSH STATUS")
            fetch(sql, params)
            plans.extend(fetch("SHOW SESSION STATUS LIKE 'Handler_read%%'"))
        return fetch(sql, params)

    side.fetch = explained

    ((_, _, key),) = side.marks(100)
    assert key == (1,)
    assert side.lag()[0] == 1
    assert side.age() >= 0

    if kind == "mariadb":
        assert sum(int(number) for _, number in plans) < 50
    else:
        text = "\n".join(str(each) for each in plans)
        assert "strangler_moves_of" in text
        assert "Removed by Filter" not in text


def test_marks_go_one_by_one_where_the_planner_knows_nothing(make_pair):
    side = side_of("payments", make_pair("postgresql").legacy)
    side.run("ALTER TABLE strangler_moves_mark SET (autovacuum_enabled = off)")
    side.run(
        "DELETE FROM pg_statistic WHERE starelid = 'strangler_moves_mark'::regclass"
    )
    side.run(
        "INSERT INTO strangler_moves_mark (move, tab, key, at) "
        "SELECT 'payments', 'a.b', '[1]', now() FROM generate_series(1, 20000)"
    )
    numbers = [number for number, _, _ in side.marks(100)]

    plan = side.fetch(
        f"EXPLAIN ANALYZE {postgresql._FORGET.format(mark='strangler_moves_mark')}",
        [numbers, "payments"],
    )
    side.run("ALTER TABLE strangler_moves_mark RESET (autovacuum_enabled)")

    text = "\n".join(line for (line,) in plan)
    assert text.count("actual time") >= 4
    assert "Removed by Filter" not in text
    assert "loops=100" in text
    assert side.lag()[0] == 19_900


def test_marks_have_one_index_on_postgresql_and_can_have_two_again(make_pair):
    pair = make_pair("postgresql")
    side = side_of("payments", pair.legacy)
    marks = Mark.objects.using(pair.legacy)
    marks.create(move="payments", tab="a.b", key="[1]")

    def indexes() -> dict[str, tuple[str, bool]]:
        rows = side.fetch(
            "SELECT c.relname, pg_get_indexdef(c.oid), i.indisprimary FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indrelid = 'strangler_moves_mark'::regclass"
        )
        return {
            name: (text.partition("USING btree ")[2], is_key)
            for name, text, is_key in rows
        }

    now = indexes()
    call_command(
        "migrate", "strangler_moves", "0004", database=pair.legacy, verbosity=0
    )
    before = indexes()
    side.run("CREATE INDEX strangler_moves_of_new ON strangler_moves_mark (at)")
    call_command("migrate", "strangler_moves", database=pair.legacy, verbosity=0)

    assert now == {"strangler_moves_of": ("(move, id)", True)}
    assert before == {
        "strangler_moves_mark_pkey": ("(id)", True),
        "strangler_moves_of": ("(move, id)", False),
    }
    assert indexes() == now
    assert side.marks(1)[0][2] == (1,)


def test_the_key_of_marks_changes_between_two_transactions(make_pair, monkeypatch):
    migration = import_module(
        "django_strangler.moves.migrations.0005_one_index_of_marks"
    )
    connection, tries = connections[make_pair("postgresql").legacy], []
    writer = connection.copy()
    writer.set_autocommit(False)
    with writer.cursor() as cursor:
        cursor.execute("UPDATE strangler_moves_mark SET tab = tab")

    def wait(seconds: float) -> None:
        tries.append(seconds)
        writer.commit()  # Nobody queues behind us meanwhile.

    monkeypatch.setattr(migration.time, "sleep", wait)

    with connection.schema_editor(atomic=False) as editor:
        migration._at_once(
            editor, "ALTER TABLE strangler_moves_mark DROP CONSTRAINT IF EXISTS never"
        )

    assert len(tries) == 1
    writer.close()


def test_the_commands_tell_how_it_is(moved):
    assert "following" in say("status")
    (found,) = json.loads(say("status", "payments", "--json"))
    assert (found["stage"], found["copied"], found["marks"]) == ("following", 20, 0)
    assert "Nothing is in the way." in say("check", "payments")
    assert "0 differences" in say("verify", "payments")
    assert "It would close" in say("switch", "payments", "--to", "modern", "--dry-run")
    assert status(moved.move).primary == "legacy"
    say("pace", "payments", "0.5")
    assert moved.state().get().share == 0.5
    with pytest.raises(CommandError, match="No app declares"):
        say("check", "nothing")

    spoil(moved)
    with pytest.raises(CommandError) as caught:
        say("verify", "payments")
    assert caught.value.returncode == 3
    assert "0 differences" in say("verify", "payments", "--repair")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"verified_at": None}, "no verification"),
        ({"verified_at": "2020-01-01 00:00+00:00"}, "no verification"),
        ({"stage": "copying"}, "Not everything is copied"),
    ],
    ids=["never", "old", "copying"],
)
def test_a_switch_is_refused_before_it_is_time(moved, change, why):
    moved.verify()
    moved.state().update(**change)

    with pytest.raises(MoveRefused, match=why):
        moved.switch("modern")

    assert direction_of(moved.move).primary == "legacy"
    assert not direction_of(moved.move).source.is_closed()


def test_a_switch_is_refused_while_the_other_side_is_far_behind(moved, monkeypatch):
    moved.verify()
    pay(moved.legacy, 1)
    side = direction_of(moved.move).source
    side.run("UPDATE strangler_moves_mark SET at = at - INTERVAL '1 hour'")
    monkeypatch.setattr(syncing, "follow", lambda direction, most: (0, {}))

    with pytest.raises(MoveRefused, match=r"36\d\d\.\d s behind, with 1 mark"):
        moved.switch("modern")

    assert not side.is_closed()


def test_a_switch_is_refused_while_its_guard_has_tripped(moved):
    moved.verify()
    incidents = Incident.objects.using(moved.legacy)
    incidents.create(
        flag="payments", action="hold", source="move:payments", text="9 %.", change=1
    )

    with pytest.raises(MoveRefused, match=r"guard of the flag payments has tripped: 9"):
        moved.switch("modern")

    incidents.update(resumed_at=DatabaseNow())
    assert moved.switch("modern") > 0


def test_a_switch_is_refused_by_what_is_tied(moved, monkeypatch):
    moved.verify()
    asked = []

    def tie(models: list[str]) -> list[str]:
        asked.extend(models)
        return ["shop/reports.py:7: raw SQL from shop to payments: payments_payment"]

    with monkeypatch.context() as only:
        only.setattr(domains, "_knowing", [tie])
        with pytest.raises(CommandError, match="In the way: 1"):
            say("check", "payments")
        with pytest.raises(MoveRefused, match=r"shop/reports\.py:7: raw SQL"):
            moved.switch("modern")
        with pytest.raises(CommandError, match=r"shop/reports\.py:7: raw SQL"):
            say("switch", "payments", "--to", "modern", "--dry-run")

    assert asked[:2] == ["payments.Payment", "payments.Refund"]
    monkeypatch.setattr(domains, "_knowing", [])  # As without the survey.
    assert moved.switch("modern") > 0


def test_the_page_has_the_rate_of_differences_with_its_interval(moved):
    assert watching._rate("move:another") == "nothing was compared in a day"

    moved.verify()
    spoil(moved)
    moved.verify()

    (row,) = watching.PANEL.data(None)["rows"]

    assert row["rate"] == "1 of 40 in a day: 0.443 to 12.9 %"
    Guard.objects.using(moved.legacy).create(
        flag="payments", action="hold", sources=["move:payments"], rule={"limit": 0.1}
    )
    page = panel()
    assert "the guard&#x27;s limit is 0.1 %" in page
    assert "1 of 40 in a day: 0.443 to 12.9 %" in page


def test_a_switch_is_refused_without_triggers(moved):
    moved.verify()
    side = direction_of(moved.move).source
    side.run(
        "ALTER TABLE payments_payment DISABLE TRIGGER "
        f"{side.trigger('payments_payment', 'update')}"
    )

    with pytest.raises(MoveRefused, match="missing or disabled"):
        moved.switch("modern")


def test_a_write_outside_of_the_block_says_so(moved):
    router = Router()
    assert router.db_for_read(Payment) == moved.legacy
    with pytest.raises(OutsideMove, match=r"moves\.atomic"):
        router.db_for_write(Payment)
    with atomic("payments"):
        assert router.db_for_write(Payment) == moved.legacy
    moved.verify()
    moved.switch("modern")
    assert router.db_for_read(Payment) == moved.modern


def test_who_reads_from_the_other_side_never_misses_a_write(moved, monkeypatch):
    monkeypatch.setattr(moved.move, "reads", "payments-reads")
    monkeypatch.setattr(
        using.feature_flags, "is_enabled", lambda name, subject: subject == "ada"
    )
    with reading("payments", "ada") as alias:
        assert alias == moved.modern
        assert Router().db_for_read(Payment) == moved.modern
    with reading("payments", "bob") as alias:
        assert alias == moved.legacy

    with atomic("payments") as alias:
        Payment.objects.using(alias).update(status="failed")

    with reading("payments", "ada") as alias:
        assert alias == moved.legacy
    moved.follow()
    with reading("payments", "ada") as alias:
        assert alias == moved.modern


def test_what_is_in_the_way_is_named_with_what_to_do(make_db, monkeypatch):
    monkeypatch.setattr(domains, "_knowing", [])  # The survey asks "default".
    pair = Pair(make_db("mariadb"), make_db("mariadb"))
    with pytest.raises(CommandError) as caught:
        say("check", "payments")
    assert caught.value.returncode == 3
    drop_foreign_keys(side_of("payments", pair.legacy))
    with connections[pair.legacy].cursor() as cursor:
        cursor.execute(
            "ALTER TABLE payments_payment ADD CONSTRAINT c FOREIGN KEY (user_id) "
            "REFERENCES users_user (id) ON DELETE CASCADE"
        )

    texts = [each.text for each in checking.check(pair.move) if each.is_error]
    assert any("The foreign key c changes rows" in text for text in texts)


def test_the_model_to_use_is_that_of_the_side_that_has_the_truth(monkeypatch):
    type(
        "Other",
        (Move,),
        {
            "name": "other",
            "target": "modern",
            "tables": [
                Table("payments.Payment", into="payments.Payout"),
                Table("payments.Refund", into="refund"),
                Table("payments.LedgerEntry"),
            ],
        },
    )
    monkeypatch.setattr(using, "primary", lambda move: move.source)
    assert model("payments.Payment") is Payment
    assert model("payments.Payout") is Payment
    assert model("payments.Refund") is Refund
    monkeypatch.setattr(using, "primary", lambda move: move.target)
    assert model("payments.Payment") is Payout
    assert model("payments.LedgerEntry") is LedgerEntry
    with pytest.raises(MoveRefused, match="belongs to the service"):
        model("payments.Refund")
    with pytest.raises(UnknownMove, match="No move declares"):
        model("users.User")


def test_what_stays_is_looked_for_where_it_stays(moved, monkeypatch):
    monkeypatch.undo()  # The routers of Django, and ours.
    user, payment = User(pk=1), Payment.objects.using(moved.legacy).first()
    payment._state.db = moved.modern
    routers = ConnectionRouter([Router()])
    monkeypatch.setattr(using, "router", routers)

    assert routers.db_for_read(User, instance=payment) == "default"
    assert routers.db_for_write(EmailLog, instance=payment) == "default"
    assert routers.allow_relation(payment, user)
    assert routers.allow_relation(user, payment)


def test_events_are_written_beside_what_they_tell_of(moved, monkeypatch):
    monkeypatch.setattr(using, "outbox_alias", lambda: moved.legacy)
    router = Router()
    assert router.db_for_write(OutboxEvent) is None
    with atomic("payments"):
        assert router.db_for_write(OutboxEvent) == moved.legacy
    moved.verify()
    moved.switch("modern")
    with atomic("payments"):
        assert router.db_for_write(OutboxEvent) == moved.modern
    # One that lies elsewhere stays where it is.
    monkeypatch.setattr(using, "outbox_alias", lambda: "elsewhere")
    with atomic("payments"):
        assert router.db_for_write(OutboxEvent) is None


def test_rights_are_asked_before_a_move_begins_and_of_no_mover(one_kind, monkeypatch):
    kind = type(side_of("payments", one_kind.legacy))
    found = [("does not own payments_payment, and puts triggers on it", "shop")]
    with monkeypatch.context() as patch:
        patch.setattr(kind, "lacking", lambda self, tables: found)
        texts = [each.text for each in checking.check(one_kind.move)]
    one_kind.start()
    monkeypatch.setattr(kind, "lacking", lambda self, tables: found)

    assert any("does not own" in text for text in texts)
    assert checking.look(direction_of(one_kind.move)) == []


def test_a_role_without_rights_is_told_what_to_grant(one_kind, monkeypatch):
    side = side_of("payments", one_kind.legacy)
    tables = ["payments_payment", "payments_refund"]
    assert list(side.lacking(tables)) == []
    is_postgresql = side.kind == "postgresql"
    role = "moves_poor" if is_postgresql else "'moves_poor'@'%'"
    side.run(f"CREATE ROLE {role}" if is_postgresql else f"CREATE USER {role}")
    try:
        side.run(f"GRANT SELECT ON payments_payment TO {role}")
        if is_postgresql:
            side.run(f"SET ROLE {role}")
            assert side.role() == role
        else:
            monkeypatch.setattr(side, "role", lambda: role)
        found = dict(side.lacking(tables))
    finally:
        if is_postgresql:
            side.run("RESET ROLE")
            side.run(f"DROP OWNED BY {role}")
            side.run(f"DROP ROLE {role}")
        else:
            side.run(f"DROP USER {role}")

    assert "may not SELECT in payments_payment" not in found
    assert found["may not SELECT in payments_refund"] == "SELECT ON payments_refund"
    assert "may not DELETE in strangler_moves_mark" in found
    if is_postgresql:
        assert "does not own payments_payment, and puts triggers on it" in found
    else:
        right = "TRIGGER ON payments_payment"
        assert found["may not TRIGGER in payments_payment"] == right


def test_a_switch_needs_the_right_to_set_numbers(one_kind, monkeypatch):
    side = side_of("payments", one_kind.legacy)
    assert list(side.lacking_to_number("payments_payment", "id")) == []
    if side.kind == "postgresql":
        # Superusers may everything: as somebody else.
        name, grant = "public.payments_payment_id_seq", "{0} ON SEQUENCE {1}"
        side.run("CREATE ROLE moves_poor")
        side.run("SET ROLE moves_poor")
        try:
            found = dict(side.lacking_to_number("payments_payment", "id"))
        finally:
            side.run("RESET ROLE")
            side.run("DROP ROLE moves_poor")
        assert [*found.values()] == [
            grant.format(right, name) for right in ("SELECT", "UPDATE")
        ]
    else:
        rights = {(right, None) for right in mariadb.RIGHTS}
        monkeypatch.setattr(type(side), "_rights", lambda self: rights)
        found = dict(side.lacking_to_number("payments_payment", "id"))
        assert [*found.values()] == ["ALTER ON payments_payment"]


def test_who_may_not_set_numbers_is_told_before_and_at_the_switch(moved, monkeypatch):
    kind = type(side_of("payments", moved.legacy))
    right = ("may not UPDATE the sequence s, which a switch sets", "UPDATE ON s")
    monkeypatch.setattr(kind, "lacking_to_number", lambda self, *column: [right])
    monkeypatch.setattr(kind, "role", lambda self: "shop")
    moved.verify()

    with pytest.raises(MoveRefused, match="Run there: GRANT UPDATE ON s TO shop"):
        moved.switch("modern")
    assert checking.look(direction_of(moved.move)) == []  # No mover stands still.
    MoveState.objects.using(moved.legacy).all().delete()
    texts = [each.todo for each in checking.check(moved.move)]
    assert "Run there: GRANT UPDATE ON s TO shop" in texts


def test_numbers_that_only_one_side_gives_need_no_right(moved, monkeypatch):
    way = direction_of(moved.move).ways["payments.payment"]
    monkeypatch.setattr(type(way), "numbered", {})

    assert list(checking.unnumbered({"payments.payment": way})) == []


def test_a_mover_runs_what_is_declared_and_stops(moved):
    stop = threading.Event()
    beats = []

    def beat() -> None:
        beats.append(1)
        if len(beats) > 3:
            stop.set()

    mover.run(stop, None, beat)

    assert len(beats) == 4


@pytest.mark.parametrize(
    "values",
    [
        {"name": "Pay ments"},
        {"name": "other", "target": ""},
        {"name": "other", "tables": []},
        {"name": "other", "tables": [Table("a.B"), Table("a.b")]},
    ],
    ids=["name", "target", "empty", "twice"],
)
def test_a_declaration_that_cannot_be_is_refused(values):
    with pytest.raises(InvalidMove):
        type("Other", (Move,), {"target": "modern", "tables": [Table("a.B")], **values})


def test_checks_name_what_is_not_there():
    type("Odd", (Move,), {"name": "odd", "target": "nowhere", "tables": [Table("a.B")]})

    found = [each.id for each in checks.check_moves(None)]

    assert found == [f"strangler_moves.{each}" for each in ("E001", "E002", "W001")]


def test_a_move_that_has_not_begun_costs_nothing_of_note(make_pair):
    pair = make_pair("postgresql")
    assert status(pair.move).stage == "not begun"
    with atomic("payments") as alias:
        assert alias == pair.legacy
    assert Router().db_for_write(Payment) == pair.legacy
    assert not MoveState.objects.using(pair.legacy).exists()


def test_whatever_fails_in_a_switch_leaves_the_source_open(moved, monkeypatch):
    moved.verify()

    def broken(*args: object, **kwargs: object) -> None:
        raise ValueError("a function of the project's own")

    original = syncing.follow
    with monkeypatch.context() as only:
        only.setattr(
            syncing,
            "follow",
            lambda direction, *rest, **more: (
                broken()
                if direction.source.is_closed()
                else original(direction, *rest, **more)
            ),
        )
        with pytest.raises(ValueError, match="of the project's own"):
            moved.switch("modern")

    assert not direction_of(moved.move).source.is_closed()
    assert moved.state().get().goal == ""
    with atomic("payments") as alias:
        assert alias == moved.legacy
