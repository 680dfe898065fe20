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
