"""From check to finish, on each pair of databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connections, transaction
from payments.models import Payment, Refund

from django_strangler.moves import atomic, beginning, checking, syncing, using
from django_strangler.moves.differences import known
from django_strangler.moves.directions import direction_of, sides
from django_strangler.moves.exceptions import MoveRefused
from django_strangler.moves.models import Mark
from django_strangler.moves.sides import postgresql, side_of
from django_strangler.moves.status import status
from tests.waiting import wait_for

from .conftest import pay, run


def test_tables_go_there_and_back_while_their_rows_change(pair):
    refunded, deleted, *rest = pay(pair.legacy, 5)
    assert [each.text for each in checking.check(pair.move) if each.is_error] == []
    pair.start()
    pair.follow()
    pair.assert_equal()

    with atomic("payments") as alias:
        assert alias == pair.legacy
        Refund.objects.using(alias).create(payment_id=refunded, amount=1)
        Payment.objects.using(alias).filter(pk=deleted).delete()
        Payment.objects.using(alias).filter(pk__in=rest).update(status="failed")
    pair.follow()
    pair.assert_equal()
    assert pair.verify() == 0
    assert pair.switch("modern") > 0

    with atomic("payments") as alias:
        assert alias == pair.modern
        new = Payment.objects.using(alias).create(user_id=1, amount=3)
        Payment.objects.using(alias).filter(pk=rest[0]).delete()
    assert new.pk > max(rest)
    pair.follow()
    pair.assert_equal()
    assert pair.verify() == 0
    pair.switch("legacy")

    with atomic("payments") as alias:
        assert alias == pair.legacy
        newer = Payment.objects.using(alias).create(user_id=1, amount=4)
    assert newer.pk > new.pk
    pair.follow()
    pair.assert_equal()
    assert pair.verify() == 0
    pair.switch("modern")
    beginning.finish(pair.move)
    assert status(pair.move).stage == "finished"
    for side in sides(pair.move):
        assert not side.is_installed("payments_payment")
        assert side.marks(1) == []
    with atomic("payments") as alias:
        assert alias == pair.modern


def test_a_closed_side_refuses_every_write_and_names_the_move(pair):
    pair.start()
    pair.follow()
    pair.verify()
    with pytest.raises(DatabaseError, match="The move payments"):
        Payment.objects.using(pair.modern).update(status="failed")

    pair.switch("modern")

    before = pair.rows(pair.legacy)
    for sql in (
        "UPDATE payments_payment SET status = 'failed'",
        "DELETE FROM payments_payment",
    ):
        with (
            pytest.raises(DatabaseError, match="The move payments"),
            connections[pair.legacy].cursor() as cursor,
        ):
            cursor.execute(sql)
    assert pair.rows(pair.legacy) == before


def test_what_is_written_while_a_side_opens_again_is_marked(make_pair, monkeypatch):
    """The gate is read twice, and opens in between: a switch was taken back."""
    marker = "    is_open := "
    assert marker in postgresql._FUNCTION
    stop_here = f"    PERFORM pg_catalog.pg_advisory_xact_lock(4711);\n{marker}"
    monkeypatch.setattr(
        postgresql, "_FUNCTION", postgresql._FUNCTION.replace(marker, stop_here)
    )
    pair = make_pair("postgresql")
    (written, *_) = pay(pair.legacy, 3)
    pair.start()
    pair.follow()
    source = direction_of(pair.move).source

    def write() -> None:
        try:
            run(pair.legacy, f"UPDATE payments_payment SET status = '{written}'")
        finally:
            connections[pair.legacy].close()

    run(pair.legacy, "SELECT pg_advisory_lock(4711)")
    token = source.close(5)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        wait_for(
            lambda: source.fetch(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND objid = 4711"
            )
        )
        source.reopen(token)
        run(pair.legacy, "SELECT pg_advisory_unlock(4711)")
        writing.result(60)

    assert written in {key[0] for _, _, key in source.marks(10)}


HOSTILE = """
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.harm(text, text) RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'code of another runs as %', current_user; END $$;
CREATE OPERATOR hostile.= (FUNCTION = hostile.harm, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR hostile.<> (FUNCTION = hostile.harm, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION hostile.harm(varchar, varchar) RETURNS boolean LANGUAGE sql AS
  $$ SELECT hostile.harm($1::text, $2::text) $$;
CREATE OPERATOR hostile.=
  (FUNCTION = hostile.harm, LEFTARG = varchar, RIGHTARG = varchar);
CREATE FUNCTION hostile.current_setting(text, boolean DEFAULT true) RETURNS text
  LANGUAGE sql AS $$ SELECT hostile.harm('', '')::text $$;
CREATE FUNCTION hostile.pg_advisory_xact_lock_shared(int, int) RETURNS void
  LANGUAGE sql AS $$ SELECT hostile.harm('', '') $$;
CREATE FUNCTION hostile.json_build_array(bigint) RETURNS json
  LANGUAGE sql AS $$ SELECT to_json(hostile.harm('', '')) $$;
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz
  LANGUAGE sql AS $$ SELECT hostile.harm('', '')::text::timestamptz $$;
CREATE TABLE hostile.strangler_moves_mark (move text, tab text, key text, at text);
CREATE TABLE hostile.strangler_moves_gate (move text, closed boolean);
CREATE DOMAIN hostile.text AS pg_catalog.text CHECK (hostile.harm('', ''))
"""


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_the_fence_runs_no_code_that_others_call_by_its_names(make_pair, level):
    pair = make_pair("postgresql")
    pay(pair.legacy, 2)
    pair.start()
    pair.follow()
    run(pair.legacy, HOSTILE)
    try:
        with transaction.atomic(using=pair.legacy):
            run(pair.legacy, f"SET TRANSACTION ISOLATION LEVEL {level}")
            run(pair.legacy, "SET LOCAL search_path = hostile, pg_catalog, public")
            for sql in ("UPDATE {} SET amount = 1", "UPDATE {} SET id = id + 1000"):
                run(pair.legacy, sql.format("payments_payment"))
            run(pair.legacy, "DELETE FROM payments_payment")
            run(pair.legacy, "TRUNCATE payments_refund")
    finally:
        run(pair.legacy, "DROP SCHEMA hostile CASCADE")

    marks = Mark.objects.using(pair.legacy).filter(tab="payments.payment")
    assert len(set(marks.values_list("key", flat=True))) == 4
    pair.follow()
    pair.assert_equal()


def test_a_changed_key_moves_its_row(pair):
    (payment,) = pay(pair.legacy, 1)
    pair.start()
    pair.follow()

    with atomic("payments") as alias:
        Payment.objects.using(alias).filter(pk=payment).update(id=payment + 1000)
    pair.follow()

    pair.assert_equal()
    assert payment + 1000 in [row[0] for row in pair.rows(pair.modern)]


def test_what_is_rolled_back_leaves_no_mark(pair):
    pair.start()
    pair.follow()

    with atomic("payments") as alias:
        Payment.objects.using(alias).update(status="failed")
        transaction.set_rollback(True, using=alias)

    assert direction_of(pair.move).source.marks(1) == []


def test_rows_that_swap_a_unique_value_are_synced_together(pair):
    one, other, *_ = pay(pair.legacy, 2)
    pair.start()
    pair.follow()

    with atomic("payments") as alias:
        rows = Payment.objects.using(alias)
        first, second = (rows.get(pk=pk).reference for pk in (one, other))
        rows.filter(pk=one).update(reference="between")
        rows.filter(pk=other).update(reference=first)
        rows.filter(pk=one).update(reference=second)
    # Each mark in a part of its own.
    syncing.follow(direction_of(pair.move), 1)

    pair.assert_equal()
    pair.follow()
    assert pair.verify() == 0


def test_abandoned_before_the_switch_nothing_is_left(pair):
    pair.start()
    pair.follow()

    beginning.abandon(pair.move)

    for side in sides(pair.move):
        assert not side.is_installed("payments_payment")
    Payment.objects.using(pair.legacy).update(status="failed")
    assert status(pair.move).stage == "abandoned"
    pair.start()
    pair.follow()
    pair.assert_equal()


def test_differences_are_found_named_and_repaired(pair):
    differs, missing, *_ = pay(pair.legacy, 3)
    pair.start()
    pair.follow()
    side = direction_of(pair.move).target
    with side.writing():
        side.run(
            "UPDATE payments_payment SET status = 'failed' WHERE id = %s", [differs]
        )
        side.run("DELETE FROM payments_payment WHERE id = %s", [missing])
        side.run(
            "INSERT INTO payments_payment (id, created_at, user_id, amount, currency, "
            "status, reference) SELECT 7777, created_at, user_id, amount, currency, "
            "status, 'extra' FROM payments_payment WHERE id = %s",
            [differs],
        )

    assert pair.verify() == 3

    assert {(each.key, each.kind, tuple(each.fields)) for each in known(pair.move)} == {
        (f"[{differs}]", "differs", ("status",)),
        (f"[{missing}]", "missing", ()),
        ("[7777]", "extra", ()),
    }
    with pytest.raises(MoveRefused, match="3 rows are different"):
        pair.switch("modern")
    assert pair.verify(repair=True) == 0
    pair.assert_equal()
    pair.switch("modern")


def test_a_transaction_that_begins_at_a_switch_ends_on_the_open_side(pair):
    pair.start()
    pair.follow()
    pair.verify()
    with atomic("payments"):
        pass  # The process believes in the legacy side now.
    pair.switch("modern")
    using.known.hints["payments"] = pair.legacy

    with atomic("payments") as alias:
        assert alias == pair.modern
        with transaction.atomic(using=alias):
            pay(alias, 1)


def test_a_unique_key_may_bear_a_foreign_key_s_name(make_pair):
    side = side_of("payments", make_pair("mariadb").legacy)
    side.run(
        "CREATE TABLE old_profile (user_id bigint, UNIQUE KEY old_fk (user_id), "
        "CONSTRAINT old_fk FOREIGN KEY (user_id) REFERENCES users_user (id))"
    )
    try:
        (found,) = (each for each in side.foreign_keys() if each.name == "old_fk")
    finally:
        side.run("DROP TABLE old_profile")

    assert (found.columns, found.parent_columns) == (("user_id",), ("id",))
