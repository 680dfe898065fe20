"""A model's rows as events, and copies of them elsewhere."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, connections, models, router, transaction
from django.test.utils import isolate_apps
from users.models import User

from django_strangler.clock import DatabaseNow
from django_strangler.contracts import event as contract
from django_strangler.contracts.declare import registry as contracts
from django_strangler.events import Event
from django_strangler.findings import Level
from django_strangler.inbox import subscribers
from django_strangler.models import OutboxEvent
from django_strangler.moves import (
    Move,
    Table,
    capture,
    capturer,
    capturing,
    checking,
    checks,
    counts,
    declaring,
    mover,
    replica,
    replicas,
    watching,
)
from django_strangler.moves.capturer import Capturer
from django_strangler.moves.capturing import Capture, find_capture
from django_strangler.moves.exceptions import InvalidMove, MoveRefused, UnknownMove
from django_strangler.moves.models import Copied, Mark, MoveState
from django_strangler.moves.sides.base import DatabaseSide
from tests.waiting import wait_for

from .conftest import Pair, attend, run
from .test_watching import panel, say

FIELDS = ("username", "email")


SMALL = {"PAGE": 10, "CHUNK": 7}


class Captured:
    """Users of one database as events, and a copy of them in another."""

    pair: Pair  # Payments move between the two.

    def __init__(self, source: str, elsewhere: str, type: object) -> None:
        self.source, self.elsewhere = source, elsewhere
        self.capture: Capture = capture(
            "users.User", type, fields=FIELDS, source=source
        )

    def begin(self) -> Capturer:
        capturer.begin(self.capture)
        return Capturer(self.capture)

    def work(self, worker: Capturer | None = None) -> None:
        """Until everything is published."""
        mine = worker or Capturer(self.capture)
        deadline = time.monotonic() + 60
        while not self.is_quiet():
            assert time.monotonic() < deadline
            time.sleep(min(mine.step(), 0.01))
        if worker is None:
            mine.leave()

    def is_quiet(self) -> bool:
        marks = Mark.objects.using(self.source).filter(move=self.capture.name)
        return self.state().stage == "following" and not marks.exists()

    def state(self) -> MoveState:
        return MoveState.objects.using(self.source).get(name=self.capture.name)

    def events(self) -> list[Event]:
        rows = OutboxEvent.objects.using(self.source).order_by("id")
        return [each.as_event() for each in rows]

    def told(self) -> list[tuple[int, object]]:
        """What was said since this was asked last."""
        found = [
            (each.payload["id"], each.payload["row"] and each.payload["row"]["email"])
            for each in self.events()
        ]
        OutboxEvent.objects.using(self.source).all().delete()
        return found

    def users(self, alias: str) -> list[tuple[int, str, str]]:
        rows = User.objects.using(alias).order_by("pk")
        return list(rows.values_list("pk", *FIELDS))

    def copy(self, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as only:
            only.setattr(router, "db_for_write", lambda *a, **hints: self.elsewhere)
            for each in events:
                replicas.apply(each, "users.User", "people")


MakeCaptured = Callable[..., Captured]


@pytest.fixture
def make(make_pair) -> Iterator[MakeCaptured]:
    """A capture of the one user on this kind of database."""
    made: list[Captured] = []

    def make(kind: str, type: object = "user.changed") -> Captured:
        pair = make_pair(kind)
        made.append(Captured(pair.legacy, pair.modern, type))
        made[-1].pair = pair
        User.objects.using(pair.legacy).update(email="1@x")
        return made[-1]

    yield make
    for each in capturing.captures.values():
        if each.source in {one.source for one in made}:
            for table in ("users_user", "payments_payment"):
                capturer.side(each).uninstall(table)


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def captured(request, make) -> Captured:
    """Each kind of database in turn."""
    return make(request.param)


@pytest.fixture
def on_postgresql(make) -> Captured:
    return make("postgresql")


def add(alias: str, *ids: int, **more: object) -> None:
    User.objects.using(alias).bulk_create(
        [User(pk=pk, username=f"u{pk}", email=f"{pk}@x", **more) for pk in ids]
    )


def test_every_write_is_told_whoever_writes(captured):
    captured.begin()
    captured.work()
    assert captured.told() == [(1, "1@x")]  # What was there before.

    add(captured.source, 2, 3)
    captured.work()
    assert captured.told() == [(2, "2@x"), (3, "3@x")]

    run(captured.source, "UPDATE users_user SET email = 'new' WHERE id > 1")
    captured.work()
    assert captured.told() == [(2, "new"), (3, "new")]

    run(captured.source, "UPDATE users_user SET id = 9 WHERE id = 3")
    captured.work()
    assert sorted(captured.told()) == [(3, None), (9, "new")]

    run(captured.source, "DELETE FROM users_user WHERE id = 2")
    captured.work()
    assert captured.told() == [(2, None)]

    with transaction.atomic(using=captured.source):
        add(captured.source, 4)
        transaction.set_rollback(True, using=captured.source)
    captured.work()
    assert captured.told() == []


def test_an_event_holds_a_row_and_its_position(captured):
    captured.begin()
    captured.work()

    (event,) = captured.events()

    assert (event.type, event.key) == ("user.changed", "users.user:1")
    assert event.payload == {
        "id": 1,
        "position": event.payload["position"],
        "row": {"username": "ada", "email": "1@x"},
    }
    assert 1_700_000_000_000_000 < event.payload["position"] < 2**53


def test_positions_only_grow_also_after_a_backup_was_restored(captured):
    captured.begin()
    captured.work()
    (first,) = captured.events()
    side = capturer.side(captured.capture)
    run(captured.source, "UPDATE strangler_moves_side SET epoch = 5")
    for _ in range(2):
        run(captured.source, "UPDATE users_user SET email = 'new'")
        captured.work()
        # Then this host's clock is behind.
        side.advance(side.standing()[0] + 10**15)
    run(captured.source, "UPDATE users_user SET email = 'new'")
    captured.work()

    found = [each.payload["position"] for each in captured.events()]
    assert found == sorted(set(found))
    assert found[0] == first.payload["position"]


def test_many_changes_of_a_row_are_one_event_of_its_last_state(captured):
    captured.begin()
    captured.work()
    captured.told()

    for number in range(5):
        run(captured.source, f"UPDATE users_user SET email = '{number}'")
    captured.work()

    assert captured.told() == [(1, "4")]


def test_a_capturer_that_dies_before_its_commit_tells_everything_again(
    captured, monkeypatch
):
    worker = captured.begin()
    captured.work()
    captured.told()
    add(captured.source, 2)
    with monkeypatch.context() as only:

        def die(side, numbers):
            raise DatabaseError("gone")

        only.setattr(type(worker._side), "delete_marks", die)
        with pytest.raises(DatabaseError):
            worker.step()
    assert captured.events() == []

    captured.work()

    assert captured.told() == [(2, "2@x")]


def test_copying_goes_on_where_it_was(captured, settings):
    add(captured.source, *range(2, 26))
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": SMALL}
    captured.begin().step()
    assert len(captured.events()) == 10

    captured.work()  # Another process.

    assert [id for id, _ in captured.told()] == [*range(1, 26)]
    assert captured.state().progress["rows"] == 25


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_batch_is_made_smaller_where_it_takes_long(make, monkeypatch, kind):
    captured = make(kind)
    captured.work(captured.begin())
    add(captured.source, *range(2, 1002))
    clock, batches = [1000.0], []
    worker = Capturer(captured.capture)
    publish = worker._publish

    def slowly(ids, position):
        batches.append(len(ids))
        clock[0] += len(ids) * 0.002
        publish(ids, position)

    monkeypatch.setattr(worker, "_publish", slowly)
    monkeypatch.setattr(capturer.time, "monotonic", lambda: clock[0])

    while not captured.is_quiet():
        worker.step()

    assert batches == [500, 250, 250]


def test_copying_waits_for_relays_and_changes_do_not(captured, monkeypatch, settings):
    add(captured.source, *range(2, 26))
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": SMALL}
    monkeypatch.setattr(capturer, "AHEAD", 10)
    worker = captured.begin()
    worker.step()
    run(captured.source, "UPDATE users_user SET email = 'new' WHERE id = 25")
    worker.step()

    assert [id for id, _ in captured.told()] == [*range(1, 11), 25]


def test_what_is_captured_again_is_published_anew(captured):
    captured.begin()
    captured.work()
    captured.told()

    assert "Movers publish it now" in say("capture", "users-user")
    captured.work()

    assert captured.told() == [(1, "1@x")]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (capturer.begin, ("copying", {"after": None, "rows": 0})),
        (capturer.end, ("abandoned", {"after": [1], "rows": 1})),
    ],
)
def test_a_page_under_way_undoes_no_command(kind, command, expected, make, monkeypatch):
    captured = make(kind)
    worker = captured.begin()
    asked = threading.Event()

    def call() -> None:
        try:
            command(captured.capture)
        finally:
            asked.set()
            connections[captured.source].close()

    thread = threading.Thread(target=call)
    writing, rows_after = DatabaseSide.writing, worker._side.rows_after

    def entering(side, epoch=None):
        if threading.current_thread() is thread:
            asked.set()  # It waits for the page, from here on.
        return writing(side, epoch)

    def reading(*given):
        # Where the page stands is read, and the table is not locked yet.
        thread.start()
        assert asked.wait(60)
        return rows_after(*given)

    monkeypatch.setattr(DatabaseSide, "writing", entering)
    monkeypatch.setattr(worker._side, "rows_after", reading)
    worker.step()
    thread.join()

    state = captured.state()
    assert (state.stage, state.progress) == expected


def test_captures_of_one_model_have_triggers_of_their_own(captured):
    captured.begin()
    captured.work()
    other = capture(
        "users.User", "user.else", fields=FIELDS, name="else", source=captured.source
    )

    def marked() -> list[str]:
        marks = Mark.objects.using(captured.source)
        found = sorted(marks.values_list("move", flat=True))
        marks.all().delete()
        return found

    capturer.begin(other)
    add(captured.source, 2)
    assert marked() == ["else", "users-user"]

    say("capture", "else", "--stop")
    add(captured.source, 3)
    assert marked() == ["users-user"]


def test_triggers_of_captures_are_never_called_the_same(make):
    captured = make("sqlite")
    names, long = ["a", "a_b", "a" * 40, "a" * 39 + "b"], "t" * 60
    sides = [
        capturer.side(capture("users.User", "user.else", fields=FIELDS, name=each))
        for each in names
    ]
    found = [
        side.trigger(table, "truncate")
        for side in (*sides, capturer.side(captured.capture))
        for table in ("users_user", "b_users_user", "b.users_user", long, f"{long}s")
    ]

    assert len(set(found)) == len(found)
    assert max(map(len, found)) < 64


def test_a_table_with_a_capture_does_not_move(make):
    captured = make("sqlite")
    pair = captured.pair
    paid = capture(
        "payments.Payment", "payment.changed", fields=["status"], source=pair.legacy
    )
    declaring.registry.clear()
    capturer.begin(paid)
    declaring.registry["payments"] = pair.move

    with pytest.raises(MoveRefused, match="capture payments-payment --stop"):
        pair.start()
    capturer.end(paid)
    pair.start()
    pair.follow()
    pair.verify()
    # As if it had begun at the same moment.
    states = MoveState.objects.using(pair.legacy).filter(name=paid.name)
    states.update(stage="following")

    with pytest.raises(MoveRefused, match="capture payments-payment --stop"):
        pair.switch("modern")
    assert checking.seen(pair.move) == []  # No mover stands still.
    troubles = [each.text for each in watching.find() if each.level == Level.TROUBLE]
    assert any("is captured by 'payments-payment'" in each for each in troubles)
    assert any("is on the move 'payments'" in each for each in troubles)

    states.update(stage="abandoned")
    pair.switch("modern")
    states.update(stage="following")
    pair.verify()
    pair.switch("legacy")  # There it is captured.


def test_a_copy_is_the_same_in_whatever_order_events_come(captured, monkeypatch):
    chance = random.Random(7)
    captured.begin()
    for step in range(60):
        number = chance.randint(2, 9)
        if chance.random() < 0.3:
            User.objects.using(captured.source).filter(pk=number).delete()
        elif User.objects.using(captured.source).filter(pk=number).exists():
            rows = User.objects.using(captured.source).filter(pk=number)
            rows.update(email=f"{step}@x")
        else:
            add(captured.source, number)
        if chance.random() < 0.7:
            captured.work()
    captured.work()
    events = captured.events()
    assert len(events) > 20
    again = [*events, *chance.sample(events, len(events) // 2)]
    chance.shuffle(again)

    captured.copy(again, monkeypatch)

    assert captured.users(captured.elsewhere) == captured.users(captured.source)


def test_an_event_that_comes_late_brings_nothing_back(captured, monkeypatch):
    captured.begin()
    captured.work()
    run(captured.source, "DELETE FROM users_user")
    captured.work()
    late, gone = captured.events()

    captured.copy([gone, late, late], monkeypatch)

    assert captured.users(captured.elsewhere) == []
    assert Copied.objects.using(captured.elsewhere).count() == 1


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_two_capturers_and_many_writers_end_with_the_same_copy(kind, make, monkeypatch):
    captured = make(kind)
    captured.begin()
    ids = range(2, 12)
    add(captured.source, *ids)
    errors: list[BaseException] = []
    stop = threading.Event()

    def guarded(work) -> threading.Thread:
        def call() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001
                errors.append(error)
            finally:
                connections[captured.source].close()

        thread = threading.Thread(target=call)
        thread.start()
        return thread

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for step in range(60):
            number = chance.choice(ids)
            with transaction.atomic(using=captured.source):
                rows = User.objects.using(captured.source).filter(pk=number)
                rows.update(email=f"{seed}-{step}")
                if chance.random() < 0.2:
                    transaction.set_rollback(True, using=captured.source)

    def publish() -> None:
        worker = Capturer(captured.capture)
        while not (stop.is_set() and captured.is_quiet()):
            stop.wait(min(worker.step(), 0.01))

    capturers = [guarded(publish) for _ in range(2)]
    for thread in [guarded(lambda seed=seed: write(seed)) for seed in range(3)]:
        thread.join()
    stop.set()
    for thread in capturers:
        thread.join()

    assert not errors
    events = captured.events()
    found = [each.payload["position"] for each in events]
    assert found == sorted(set(found))  # Also in the order of sending.
    random.Random(3).shuffle(events)
    captured.copy(events, monkeypatch)
    assert captured.users(captured.elsewhere) == captured.users(captured.source)


def test_a_mover_publishes_captures_as_well(on_postgresql):
    on_postgresql.begin()
    stop = threading.Event()

    def work() -> None:
        mover.run(stop, None)
        connections[on_postgresql.source].close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_for(on_postgresql.is_quiet)
    finally:
        stop.set()
        thread.join()

    assert on_postgresql.told() == [(1, "1@x")]


def test_commands_and_doctor_tell_how_a_capture_is(on_postgresql):
    declaring.registry.clear()  # No moves.
    assert "users-user: not begun" in say("status")
    assert [*watching.find()] == []
    say("capture", "users-user")
    on_postgresql.work()
    assert "users-user: following; 1 row published at first; 0 marks" in say("status")
    assert [each.text for each in watching.find()] == ["No mover follows users-user."]
    attend("users-user", on_postgresql.source)
    assert [each.level for each in watching.find()] == [Level.FINE]

    add(on_postgresql.source, 2)
    Mark.objects.using(on_postgresql.source).update(at=DatabaseNow(-3600))
    run(on_postgresql.source, "ALTER TABLE users_user DISABLE TRIGGER USER")
    missing, late = watching.find()
    assert "Triggers on users_user" in missing.text
    assert "readers delete copies" in missing.todo
    assert re.search(r"users-user is 36\d\d s behind", late.text)
    assert "more is written than it can follow" in late.todo

    assert "Nothing is left" in say("capture", "users-user", "--stop")
    assert not Mark.objects.using(on_postgresql.source).exists()
    assert "users-user: stopped" in say("status", "users-user")
    with pytest.raises(CommandError, match="No app declares a capture 'nothing'"):
        say("capture", "nothing")


def test_a_copy_that_stands_still_without_marks_is_told(
    on_postgresql, settings, monkeypatch
):
    settings.STRANGLER = {**settings.STRANGLER, "MOVES": {"LEASE": 600.0}}
    declaring.registry.clear()  # No moves.
    worker = on_postgresql.begin()
    assert [each.text for each in watching.find()] == ["No mover follows users-user."]

    def refuse(*given: object) -> None:
        raise MoveRefused("The row 1 is too large.")

    with monkeypatch.context() as only:
        only.setattr(worker, "_publish", refuse)
        worker.step()
        (found,) = watching.find()

    assert (found.text, found.todo) == (
        "users-user stands still.",
        "The row 1 is too large.",
    )
    assert watching._Followed()() == {"users-user": (1, found.todo)}
    page = panel()
    assert "1, stands still: The row 1 is too large." in page
    on_postgresql.work(worker)
    assert [each.level for each in watching.find()] == [Level.FINE]

    worker.leave()

    assert [each.text for each in watching.find()] == ["No mover follows users-user."]


def test_the_metric_of_how_far_it_is_behind_has_captures(on_postgresql):
    worker = on_postgresql.begin()
    worker.step()
    assert counts.lags[("users-user",)] == 0
    capturer.end(on_postgresql.capture)
    worker.recover()

    worker.step()

    assert ("users-user",) not in counts.lags


@dataclass(frozen=True, kw_only=True)
class Row:
    username: str
    email: str


@dataclass(frozen=True, kw_only=True)
class Changed:
    id: int
    position: int
    row: Row | None


def test_a_contract_says_what_an_event_holds(make, monkeypatch):
    monkeypatch.setattr(contracts, "events", {})

    typed_event = contract("person.changed", version=2, key="users.user")(Changed)
    captured = make("sqlite", typed_event)
    captured.begin()
    captured.work()

    (event,) = captured.events()

    assert event.type == "person.changed"
    assert event.headers["contract-version"] == 2
    assert event.payload["row"] == {"username": "ada", "email": "1@x"}

    got = []
    monkeypatch.setattr(subscribers.registry, "_by_name", {})
    monkeypatch.setattr(
        replicas, "apply", lambda event, *given: got.append((event, given))
    )
    replica(typed_event, "users.User", name="people", fields={"email": "email"})
    (subscriber,) = subscribers.registry._by_name.values()
    subscriber.handler(event)
    ((typed, given),) = got
    assert typed.data.row == Row(username="ada", email="1@x")
    assert given == ("users.User", "people", {"email": "email"})


def test_a_copy_may_call_its_fields_otherwise(make, monkeypatch):
    captured = make("sqlite")
    given = {"id": 5, "position": 1, "row": {"login": "eve", "mail": "e@x"}}
    names = {"username": "login", "email": "mail"}
    monkeypatch.setattr(router, "db_for_write", lambda *a, **h: captured.elsewhere)

    assert replicas.apply(
        Event(type="user.changed", payload=given), "users.User", "people", names
    )

    assert captured.users(captured.elsewhere) == [(5, "eve", "e@x")]


def test_what_cannot_be_captured_is_refused(make, monkeypatch):
    captured = make("sqlite")
    with pytest.raises(InvalidMove, match="is a capture 'users-user' already"):
        capture("users.User", "user.else", fields=FIELDS)
    with pytest.raises(InvalidMove, match="is not valid"):
        capture("users.User", "user.else", fields=FIELDS, name="Not This")
    with pytest.raises(UnknownMove, match="Declared: users-user"):
        find_capture("nothing")
    odd = capture(
        "users.User", "user.odd", fields=["nose"], name="odd", source=captured.source
    )
    monkeypatch.setattr(capturer, "outbox_alias", lambda: "elsewhere")
    type(
        "Users",
        (Move,),
        {
            "name": "odd",
            "source": captured.source,
            "target": captured.elsewhere,
            "tables": [Table("users.User")],
        },
    )

    with pytest.raises(MoveRefused) as caught:
        capturer.begin(odd)

    for why in ("outbox is in 'elsewhere'", "no field nose", "is on the move 'odd'"):
        assert why in str(caught.value)
    capture("users.User", "user.far", fields=FIELDS, name="far", source="nowhere")
    found = [each.msg for each in checks.check_moves(None) if "capture" in each.msg]
    assert len(found) == 2


@pytest.fixture
def get_model(monkeypatch) -> Iterator[Callable[[type[models.Model]], None]]:
    with isolate_apps(), monkeypatch.context() as only:
        yield lambda model: only.setattr(
            capturing, "apps", SimpleNamespace(get_model=lambda label: model)
        )


def test_fields_of_a_parents_table_are_refused(make, get_model):
    captured = make("sqlite")

    class Clerk(User):
        desk = models.CharField(max_length=9)

        class Meta:
            app_label = "users"

    get_model(Clerk)
    clerks = capture(
        "users.Clerk", "clerk.changed", fields=["desk", "email"], source=captured.source
    )
    run(captured.source, "CREATE TABLE users_clerk (user_ptr_id integer PRIMARY KEY)")
    try:
        (found,) = capturer.look(clerks)
    finally:
        run(captured.source, "DROP TABLE users_clerk")

    assert "The field email is in the table of a parent of Clerk" in found.text
    assert "capture users.User" in found.todo


def test_a_proxy_is_on_the_move_of_its_table(make, get_model):
    captured = make("sqlite")

    class Person(User):
        class Meta:
            app_label = "users"
            proxy = True

    get_model(Person)
    people = capture(
        "users.Person", "person.changed", fields=FIELDS, source=captured.source
    )
    assert list(capturer.look(people)) == []
    type(
        "Users",
        (Move,),
        {
            "name": "users",
            "source": captured.source,
            "target": captured.elsewhere,
            "tables": [Table("users.User")],
        },
    )

    (found,) = capturer.look(people)

    assert "is on the move 'users'" in found.text


def test_a_capture_keeps_out_of_a_moves_triggers(on_postgresql):
    side = capturer.side(on_postgresql.capture)
    assert side.trigger("users_user", "insert") == (
        "strangler_capture_users-user.users_user_insert"
    )
    assert DatabaseSide.prefix == "strangler_move_"
