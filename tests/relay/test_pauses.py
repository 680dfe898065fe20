"""What people have paused is sent by no relay, and everything else is."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from django_strangler.brokers import memory
from django_strangler.exceptions import InvalidEvent, InvalidType
from django_strangler.models import Pause
from django_strangler.outbox.pauses import pause, resume
from django_strangler.outbox.reading import Pace
from tests.relay.factories import make_relay, pending, publish, rows_sent


def test_a_paused_type_waits_with_its_keys_and_goes_in_order_once_resumed(
    any_db: str, far: memory.MemoryExchange
) -> None:
    paused = publish(any_db, "a", "b", type="mail.wanted")
    behind = publish(any_db, "a")
    others = publish(any_db, "c", "")
    pause(Pause.Scope.TYPE, "mail.wanted", by="anna", why="wrong text", using=any_db)

    make_relay(any_db, far).drain()
    assert rows_sent(far) == others

    assert resume(Pause.Scope.TYPE, "mail.wanted", by="bert", using=any_db)
    make_relay(any_db, far).drain()
    assert sorted(rows_sent(far)) == sorted([*paused, *behind, *others])
    assert rows_sent(far).index(paused[0]) < rows_sent(far).index(behind[0])
    row = Pause.objects.using(any_db).get()
    assert (row.by, row.why, row.ended_by) == ("anna", "wrong text", "bert")


def test_a_paused_key_waits_and_no_other(
    any_db: str, far: memory.MemoryExchange
) -> None:
    publish(any_db, "a", "a")
    others = publish(any_db, "A", "b", "")
    pause(Pause.Scope.KEY, "a", using=any_db)

    make_relay(any_db, far).drain()

    assert sorted(rows_sent(far)) == others


def test_a_paused_key_waits_also_among_more_than_a_read_can_leave_out(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    publish(sqlite_db, "a", "a")
    others = publish(sqlite_db, "b")
    pause(Pause.Scope.KEY, "a", using=sqlite_db)

    make_relay(sqlite_db, far, pace=Pace(keys_left_out=0)).drain()

    assert rows_sent(far) == others


def test_with_everything_paused_nothing_is_sent(
    any_db: str, far: memory.MemoryExchange
) -> None:
    publish(any_db, "a", "")
    pause(Pause.Scope.ALL, using=any_db)

    make_relay(any_db, far).drain()
    assert rows_sent(far) == []

    resume(Pause.Scope.ALL, using=any_db)
    make_relay(any_db, far).drain()
    assert not pending(any_db)


@pytest.mark.django_db
def test_a_pause_names_what_it_is_of() -> None:
    with pytest.raises(InvalidEvent):
        pause(Pause.Scope.KEY, using="default")
    with pytest.raises(InvalidEvent):
        pause(Pause.Scope.ALL, "a", using="default")
    with pytest.raises(InvalidType):
        pause(Pause.Scope.TYPE, "no type", using="default")
    assert not resume(Pause.Scope.ALL, using="default")


def test_the_command_pauses_and_resumes(
    sqlite_db: str, far: memory.MemoryExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(sqlite_db, "a", type="mail.wanted")
    options = {"database": [sqlite_db]}

    call_command("drain_outbox", pause=["mail.wanted"], why="wrong", **options)
    make_relay(sqlite_db, far).drain()
    assert rows_sent(far) == []
    assert Pause.objects.using(sqlite_db).get().why == "wrong"

    call_command("drain_outbox", resume=["mail.wanted"], **options)
    make_relay(sqlite_db, far).drain()
    assert not pending(sqlite_db)
    assert capsys.readouterr().out.splitlines() == [
        "mail.wanted is paused.",
        "mail.wanted is sent again.",
    ]
