"""Whatever way of the ORM a flag changes: history, a new stamp, or nothing at all."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import IntegrityError, router, transaction
from django.db.models import F

from django_strangler import feature_flags
from django_strangler.exceptions import AppendOnly, InvalidFlag, InvalidPercentage
from django_strangler.feature_flags import wording
from django_strangler.models import Flag, FlagChange, FlagVersion

from .conftest import queries

pytestmark = pytest.mark.usefixtures("flag_db_rolled_back")


def first() -> Flag:
    return Flag.objects.get(name="first")


def save():
    flag = first()
    flag.percentage = 2
    flag.save()


def save_some_fields():
    flag = first()
    flag.percentage = Decimal("2")
    flag.save(update_fields=["percentage"])


def bulk_update():
    flag = first()
    flag.percentage = 2
    Flag.objects.bulk_update([flag], ["percentage"])


def upsert():
    Flag.objects.bulk_create(
        [Flag(name="first", percentage=2)],
        update_conflicts=True,
        update_fields=["percentage"],
        **(
            {}
            if transaction.get_connection(FlagVersion.objects.db).vendor == "mysql"
            else {"unique_fields": ["name"]}
        ),
    )


@pytest.mark.parametrize(
    "change",
    [
        save,
        save_some_fields,
        bulk_update,
        upsert,
        lambda: Flag.objects.filter(name="first").update(percentage=2),
        lambda: Flag.objects.update(percentage=F("percentage") + 1),
        lambda: Flag.objects.update_or_create(name="first", defaults={"percentage": 2}),
        lambda: feature_flags.set_rollout("first", 2),
    ],
)
def test_every_change_is_written_down_and_stamped(change):
    Flag.objects.create(name="first", percentage=1)
    stamp = FlagVersion.objects.stamp()

    with feature_flags.attributed_to("alice", "because"):
        change()

    latest = FlagChange.objects.first()
    assert (latest.flag, latest.by, latest.why) == ("first", "alice", "because")
    assert latest.before["percentage"] == "1.00"
    assert latest.after["percentage"] == "2.00"
    assert FlagChange.objects.count() == 2
    assert FlagVersion.objects.stamp() != stamp


@pytest.mark.parametrize(
    "create",
    [
        lambda: Flag(name="first").save(),
        lambda: Flag.objects.create(name="first"),
        lambda: Flag.objects.get_or_create(name="first"),
        lambda: Flag.objects.update_or_create(name="first"),
        lambda: Flag.objects.bulk_create(iter([Flag(name="first")])),
        lambda: Flag.objects.bulk_create([Flag(name="first")], ignore_conflicts=True),
    ],
)
def test_every_creation_is_written_down(create):
    create()

    assert first().salt == "first"
    assert [(each.flag, each.before) for each in FlagChange.objects.all()] == [
        ("first", None)
    ]


@pytest.mark.parametrize(
    "delete",
    [
        lambda: first().delete(),
        lambda: Flag.objects.all().delete(),
        lambda: Flag.objects.filter(name="first").delete(),
    ],
)
def test_every_deletion_is_written_down(delete):
    Flag.objects.create(name="first")

    delete()

    latest = FlagChange.objects.first()
    assert (latest.flag, latest.after) == ("first", None)
    assert not Flag.objects.exists()


def test_many_at_once_are_many_lines():
    Flag.objects.bulk_create(Flag(name=f"f{number}") for number in range(5))
    Flag.objects.update(enabled=False)
    Flag.objects.all().delete()

    assert FlagChange.objects.count() == 15


def test_a_save_that_changes_nothing_is_no_line():
    Flag.objects.create(name="first")
    first().save()

    assert FlagChange.objects.count() == 1


def test_change_and_history_are_undone_together():
    Flag.objects.create(name="first", percentage=1)

    with suppress(RuntimeError), transaction.atomic(FlagVersion.objects.db):
        Flag.objects.update(percentage=50)
        raise RuntimeError

    assert first().percentage == 1
    assert FlagChange.objects.count() == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda: Flag.objects.create(name="No Slug"),
        lambda: Flag.objects.create(name="x", percentage="12.345"),
        lambda: Flag.objects.create(name="x", included=[None]),
        lambda: Flag.objects.create(name="x", ramp={"steps": []}),
        lambda: Flag.objects.bulk_create([Flag(name="x"), Flag(name="Y")]),
        lambda: Flag.objects.update(percentage=101),
        lambda: Flag.objects.update(percentage=12.345),
        lambda: Flag.objects.update(percentage=F("percentage") + 100),
        lambda: Flag.objects.update(name="No Slug"),
        lambda: Flag.objects.update(salt="a:b"),
        lambda: Flag.objects.update(excluded="42"),
        lambda: Flag.objects.update(ramp={"steps": [["x", 1]]}),
        lambda: Flag.objects.bulk_update(
            [Flag(pk=first().pk, name="first", percentage=200)], ["percentage"]
        ),
    ],
)
def test_bad_values_are_refused_and_nothing_is_half_written(write):
    Flag.objects.create(name="first", percentage=1)

    with pytest.raises(InvalidFlag):
        write()

    assert [flag.state() for flag in Flag.objects.all()] == [first().state()]
    assert first().percentage == 1
    assert FlagChange.objects.count() == 1


def test_numbers_in_a_list_of_ids_become_text():
    Flag.objects.create(name="first")
    Flag.objects.update(included=[7, "7"])

    assert first().included == ["7"]
    assert feature_flags.is_enabled("first", 7)


def test_forms_get_a_validation_error():
    with pytest.raises(ValidationError, match="salt"):
        Flag(name="first", salt="a:b").full_clean()


def test_history_cannot_be_changed():
    Flag.objects.create(name="first")
    change = FlagChange.objects.get()

    for attempt in (
        change.save,
        change.delete,
        FlagChange.objects.all().delete,
        lambda: FlagChange.objects.update(by="mallory"),
        lambda: FlagChange._base_manager.update(by="mallory"),
        FlagChange._base_manager.all().delete,
        lambda: FlagChange._default_manager.update(by="mallory"),
        lambda: FlagChange.objects.update_or_create(
            pk=change.pk, defaults={"by": "mallory"}
        ),
        # The last: its atomic() has no savepoint.
        lambda: FlagChange.objects.bulk_update([change], ["by"]),
    ):
        with pytest.raises(AppendOnly):
            attempt()


def test_no_row_of_the_history_is_written_over():
    feature_flags.set_rollout("a", 1, by="ada")
    old = FlagChange.objects.get()
    alias = router.db_for_write(FlagChange)
    forged = FlagChange(pk=old.pk, flag="a", by="mallory", before=None, after=None)

    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        forged.save()
    with pytest.raises(AppendOnly):
        FlagChange.objects.bulk_create(
            [forged], update_conflicts=True, update_fields=["by"], unique_fields=["id"]
        )
    with pytest.raises(AppendOnly):
        FlagChange.objects.bulk_create([forged], None, False, True, ["by"], ["id"])
    with pytest.raises(IntegrityError), transaction.atomic(using=alias):
        FlagChange.objects.bulk_create([forged])
    with pytest.raises(AppendOnly):
        FlagChange.objects.filter(pk=old.pk)._raw_delete(alias)

    assert FlagChange.objects.get().by == "ada"


def test_nobody_deletes_all_flags_through_the_manager_by_mistake():
    assert not hasattr(Flag.objects, "delete")
    assert not hasattr(FlagChange.objects, "delete")


def test_a_fixture_is_seen_at_once_and_brings_its_own_history():
    Flag.objects.create(name="first", percentage=100)
    dump = serializers.serialize("json", Flag.objects.all())
    first().delete()
    assert not feature_flags.is_enabled("first", 1)
    before = FlagChange.objects.count()

    for each in serializers.deserialize("json", dump, using=FlagVersion.objects.db):
        each.save(using=FlagVersion.objects.db)

    assert feature_flags.is_enabled("first", 1)
    assert FlagChange.objects.count() == before


def test_attribution_nests_and_ends():
    with feature_flags.attributed_to("alice", "outer"):
        Flag.objects.create(name="a")
        with feature_flags.attributed_to("bob"):
            Flag.objects.create(name="b")
        Flag.objects.create(name="c")
    Flag.objects.create(name="d")

    assert {each.flag: (each.by, each.why) for each in FlagChange.objects.all()} == {
        "a": ("alice", "outer"),
        "b": ("bob", "outer"),
        "c": ("alice", "outer"),
        "d": ("", ""),
    }


def test_text_that_no_database_holds_is_cleaned_in_the_history():
    with feature_flags.attributed_to("a\x00b\ud800" + "x" * 300, "why\x00"):
        Flag.objects.create(name="first")

    change = FlagChange.objects.get()
    assert change.by.startswith("ab?x")
    assert (len(change.by), change.why) == (255, "why")


def test_a_float_is_taken_at_its_word():
    Flag.objects.create(name="first", percentage=0.1)
    assert first().percentage == Decimal("0.10")

    with pytest.raises(InvalidPercentage):
        Flag.objects.update(percentage=0.1 + 0.2)


def test_an_upsert_queues_up_before_it_locks_the_flag(flag_db_rolled_back):
    Flag.objects.create(name="first", percentage=1)

    with queries(flag_db_rolled_back) as asked:
        Flag.objects.update_or_create(name="first", defaults={"percentage": 2})

    locks = [
        each for each in asked if "FOR UPDATE" in each or each.startswith("UPDATE")
    ]
    assert "strangler_flagversion" in locks[0]


@pytest.mark.parametrize("ramp", [{}, {"steps": 3}, {"steps": None}])
def test_a_ramp_that_was_broken_by_hand_can_be_read_in_the_history(ramp):
    before, after = {"percentage": "1.00"}, {"percentage": "1.00", "ramp": ramp}

    assert wording.change(before, after) == "ramp none → 0 steps"
