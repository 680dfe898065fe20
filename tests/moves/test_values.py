"""Tables of every kind of column and key, renamed, converted, and left behind."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from django.apps import apps
from django.db import connections, models, transaction

from django_strangler.moves import Table, atomic, checking, syncing
from django_strangler.moves.differences import known
from django_strangler.moves.directions import direction_of, sides
from django_strangler.moves.sides import DatabaseSide, side_of

from .conftest import PAIRS, MakePair, Pair


@pytest.fixture
def thing() -> Iterator[type[models.Model]]:
    """A model of the app payments, which no migration knows."""

    class MovedThing(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        name = models.CharField(max_length=50, null=True)  # noqa: DJ001
        is_on = models.BooleanField(default=True)
        price = models.DecimalField(max_digits=12, decimal_places=3, null=True)
        weight = models.FloatField(null=True)
        at = models.DateTimeField(null=True)
        day = models.DateField(null=True)
        hour = models.TimeField(null=True)
        took = models.DurationField(null=True)
        data = models.JSONField(null=True)
        raw = models.BinaryField(null=True)
        token = models.UUIDField(null=True, unique=True)

        class Meta:
            app_label = "payments"

        def __str__(self) -> str:
            return str(self.pk)

    yield MovedThing
    del apps.all_models["payments"]["movedthing"]
    apps.clear_cache()


class WithTable:
    """The table of a model on both sides, for one test."""

    def __init__(self, pair: Pair, model: type[models.Model], there: str = "") -> None:
        self._made: list[tuple[str, str]] = []
        for alias, name in (
            (pair.legacy, model._meta.db_table),
            (pair.modern, there or model._meta.db_table),
        ):
            before = model._meta.db_table
            model._meta.db_table = name
            with connections[alias].schema_editor() as editor:
                editor.create_model(model)
            model._meta.db_table = before
            self._made.append((alias, name))

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        for alias, name in self._made:
            with connections[alias].cursor() as cursor:
                cursor.execute(f"DROP TABLE {name}")


def values() -> list[dict]:
    return [
        {},
        {
            "name": 'Ä "quoted" \\ 🙂\nline',
            "is_on": False,
            "price": Decimal("-12345.678"),
            "weight": 0.1,
            "at": datetime(2026, 3, 1, 2, 3, 4, 567890, tzinfo=timezone.utc),
            "day": date(1969, 12, 31),
            "hour": time(23, 59, 59, 999999),
            "took": timedelta(days=3, microseconds=7),
            "data": {"a": [1, 2.5, None, "é"], "b": {"c": True}},
            "raw": b"\x00\xff'\\",
            "token": uuid.uuid4(),
        },
    ]


@pytest.mark.parametrize(
    "kind",
    ["postgresql", "mariadb", "postgresql-mariadb", "mariadb-postgresql", "sqlite"],
)
def test_every_kind_of_value_arrives_as_it_was(make_pair: MakePair, thing, kind):
    pair = make_pair(kind, tables=[Table("payments.MovedThing")])
    with WithTable(pair, thing):
        for each in values():
            thing(**each).save(using=pair.legacy)
        pair.start()
        pair.follow()

        assert seen(thing, pair.modern) == seen(thing, pair.legacy)
        assert pair.verify() == 0
        pair.switch("modern")
        with atomic("payments") as alias:
            thing(**{**values()[1], "name": "new"}).save(using=alias)
        pair.follow()
        assert seen(thing, pair.modern) == seen(thing, pair.legacy)
        assert pair.verify() == 0


@pytest.mark.parametrize("kind", ["postgresql", "mariadb-postgresql", "sqlite"])
def test_rows_are_renamed_and_converted_there_and_back(make_pair, thing, kind):
    def convert(row: dict) -> dict:
        return {**row, "price": row["price"] * 2}

    def revert(row: dict) -> dict:
        return {**row, "price": row["price"] / 2}

    table = Table(
        "payments.MovedThing", into="moved_elsewhere", convert=convert, revert=revert
    )
    pair = make_pair(kind, tables=[table])
    with WithTable(pair, thing, "moved_elsewhere"):
        thing(price=Decimal("1.500"), token=uuid.uuid4()).save(using=pair.legacy)
        pair.start()
        pair.follow()

        assert prices(pair) == (Decimal("1.500"), Decimal("3.000"))
        assert pair.verify() == 0
        pair.switch("modern")
        with (
            atomic("payments") as alias,
            connections[alias].cursor() as cursor,
        ):
            cursor.execute("UPDATE moved_elsewhere SET price = 10")
        pair.follow()
        assert prices(pair) == (Decimal(5), Decimal(10))
        assert pair.verify() == 0


def seen(model: type[models.Model], alias: str) -> list[tuple]:
    rows = [
        tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
        for row in model._base_manager.using(alias).values_list()
    ]
    return sorted(rows, key=lambda row: str(row[0]))  # Each database has its own.


def prices(pair: Pair) -> tuple[Decimal, Decimal]:
    found = []
    for side, table in zip(
        sides(pair.move), ("payments_movedthing", "moved_elsewhere"), strict=True
    ):
        ((price,),) = side.fetch(f"SELECT price FROM {table}")
        found.append(Decimal(str(price)))
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_a_text_as_key_may_hold_anything(make_pair, kind):
    class MovedWord(models.Model):
        word = models.CharField(max_length=50, primary_key=True)
        number = models.IntegerField(default=0)

        class Meta:
            app_label = "payments"

        def __str__(self) -> str:
            return self.word

    try:
        pair = make_pair(kind, tables=[Table("payments.MovedWord")])
        with WithTable(pair, MovedWord):
            words = [
                "a/b",
                'x "y"',
                "back\\slash",
                "two  words",
                "ä🙂",
                "%s",
                "\t",
                "'",
            ]
            for word in words:
                MovedWord(pk=word).save(using=pair.legacy)
            pair.start()
            pair.follow()
            with atomic("payments") as alias:
                MovedWord.objects.using(alias).update(number=1)
                # Not followed yet, and no difference either.
            assert pair.verify() == 0
            assert direction_of(pair.move).source.marks(1)
            pair.follow()
            assert seen(MovedWord, pair.modern) == seen(MovedWord, pair.legacy)
            assert pair.verify() == 0
    finally:
        del apps.all_models["payments"]["movedword"]
        apps.clear_cache()


@pytest.fixture
def part() -> Iterator[type[models.Model]]:
    """A model whose table has a key of two columns, which Django need not know."""

    class MovedPart(models.Model):
        area = models.IntegerField(primary_key=True)
        name = models.CharField(max_length=20)
        number = models.IntegerField(default=0)

        class Meta:
            app_label = "payments"

        def __str__(self) -> str:
            return f"{self.area} {self.name}"

    yield MovedPart
    del apps.all_models["payments"]["movedpart"]
    apps.clear_cache()


@pytest.mark.parametrize("kind", PAIRS)
def test_a_key_may_have_several_columns(make_pair, part, kind):
    table = part._meta.db_table
    pair = make_pair(kind, tables=[Table("payments.MovedPart")])
    legacy, modern = sides(pair.move)
    for side in (legacy, modern):
        side.run(
            f"CREATE TABLE {table} (area integer NOT NULL, name varchar(20) NOT NULL, "
            "number integer NOT NULL, PRIMARY KEY (area, name))"
        )
    rows = [(area, f"x{n:02}", n) for area in (1, 2, 10) for n in range(20)]
    try:
        for row in rows:
            legacy.run(f"INSERT INTO {table} VALUES (%s, %s, %s)", row)
        pair.start()
        pair.follow()
        with atomic("payments") as alias:
            change = side_of("payments", alias).run
            change(f"UPDATE {table} SET number = 7 WHERE area = 2")
            change(
                f"UPDATE {table} SET area = 3, name = 'new' "
                "WHERE area = 1 AND name = 'x05'"
            )
            change(f"DELETE FROM {table} WHERE area = 10 AND name = 'x01'")
        pair.follow()

        assert pair.verify() == 0
        assert rows_in(modern, table) == rows_in(legacy, table)
        assert (3, "new", 5) in rows_in(modern, table)
        with modern.writing():
            modern.run(f"UPDATE {table} SET number = 8 WHERE area = 2 AND name = 'x02'")
        assert pair.verify() == 1
        (difference,) = known(pair.move)
        assert (difference.key, difference.fields) == ('[2, "x02"]', ["number"])
        assert pair.verify(repair=True) == 0
        pair.switch("modern")
        assert rows_in(modern, table) == rows_in(legacy, table)
    finally:
        for side in (legacy, modern):
            side.run(f"DROP TABLE {table}")


def rows_in(side: DatabaseSide, table: str) -> list[tuple]:
    return sorted(side.fetch(f"SELECT area, name, number FROM {table}"))


def test_columns_that_are_left_behind_keep_what_they_had(make_pair, thing):
    table = Table("payments.MovedThing", columns={"name": None})
    pair = make_pair("postgresql", tables=[table])
    with WithTable(pair, thing):
        thing(name="kept", price=1).save(using=pair.legacy)
        pair.start()
        pair.follow()
        assert seen(thing, pair.modern)[0][1] is None
        assert pair.verify() == 0
        pair.switch("modern")
        with atomic("payments") as alias:
            thing._base_manager.using(alias).update(price=2)
        pair.follow()

        ((_, name, _, price, *_),) = seen(thing, pair.legacy)
        assert (name, price) == ("kept", 2)


def test_a_child_whose_parent_is_not_there_yet_brings_it_along(one_kind):
    from payments.models import Payment, Refund

    pair = one_kind
    pair.start()
    pair.follow()
    with atomic("payments") as alias, transaction.atomic(using=alias):
        made = Payment(user_id=1, amount=1)
        made.save(using=alias)
        refund = Refund(payment_id=made.pk, amount=1)
        refund.save(using=alias)

    syncing.sync(direction_of(pair.move), {"payments.refund": [(refund.pk,)]})

    if direction_of(pair.move).target.kind == "postgresql":
        assert Payment.objects.using(pair.modern).filter(pk=made.pk).exists()
    pair.follow()
    pair.assert_equal()


def test_a_column_that_is_added_meanwhile_stops_the_move_and_says_so(one_kind):
    pair = one_kind
    pair.start()
    pair.follow()
    side = direction_of(pair.move).source
    side.run("ALTER TABLE payments_refund ADD COLUMN extra integer")
    try:
        errors = [each.text for each in checking.check(pair.move) if each.is_error]
    finally:
        side.run("ALTER TABLE payments_refund DROP COLUMN extra")

    assert errors == ["payments_refund.extra has no column extra in payments_refund."]
