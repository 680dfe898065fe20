"""What a comparison asks for while it holds the destination's lock."""

from __future__ import annotations

import pytest
from payments.models import Payment

from django_strangler.moves import atomic
from django_strangler.moves.directions import direction_of

from .conftest import Pair, pay


@pytest.fixture
def asked(pair: Pair, monkeypatch) -> list[tuple]:
    """The keys whose marks were looked for; no index serves that."""
    kind, found = type(direction_of_source(pair)), []
    marked = kind.marked

    def spy(side, tab, keys):
        found.extend(keys)
        return marked(side, tab, keys)

    monkeypatch.setattr(kind, "marked", spy)
    return found


def direction_of_source(pair: Pair):
    pair.start()
    pair.follow()
    return direction_of(pair.move).source


def test_marks_are_looked_for_only_of_rows_that_differ(pair, asked):
    assert pair.verify() == 0
    assert asked == []

    with atomic("payments") as alias:
        changed = Payment.objects.using(alias).order_by("pk")[7]
        changed.status = "failed"
        changed.save(using=alias)
        changed_pk, (new,) = changed.pk, pay(alias, 1)
        gone = Payment.objects.using(alias).order_by("pk").first()
        gone_pk = gone.pk
        gone.delete(using=alias)

    # They differ, and are marked: the mover has not come by yet.
    assert pair.verify() == 0
    assert set(asked) == {(changed_pk,), (new,), (gone_pk,)}


def test_the_movers_lock_is_taken_once_for_a_range(pair, monkeypatch):
    many = [
        Payment(user_id=1, amount="1.00", reference=f"{number}")
        for number in range(2500)
    ]
    Payment.objects.using(pair.legacy).bulk_create(many)
    source = direction_of_source(pair)
    kind, taken = type(source), []
    lock = kind._lock
    with atomic("payments") as alias:
        Payment.objects.using(alias).filter(pk__gt=0).update(status="failed")
        Payment.objects.using(alias).filter(pk__gt=0).update(status="pending")

    def spy(side, epoch):
        taken.append(side.alias)
        return lock(side, epoch)

    monkeypatch.setattr(kind, "_lock", spy)
    monkeypatch.setattr(type(direction_of(pair.move).target), "_lock", spy)
    assert pair.verify() == 0
    assert taken == []  # What is marked may well be equal.

    with atomic("payments") as alias:
        Payment.objects.using(alias).filter(pk__gt=0).update(status="failed")
    assert pair.verify() == 0
    assert len(taken) <= 5  # Of 2,550 that differ and are marked, a thousand each.
