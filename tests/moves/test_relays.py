"""No switch to where nobody would send the events."""

from __future__ import annotations

import pytest
from django.core.management import CommandError

from django_strangler.findings import Level
from django_strangler.models import Lane, OutboxEvent, RelayProcess
from django_strangler.moves import checking, using, watching
from django_strangler.moves.exceptions import MoveRefused
from django_strangler.moves.mover import Mover
from django_strangler.outbox.publishing import publish_event
from tests.monitoring.factories import add_relay

from .conftest import Pair, attend, pay
from .test_watching import say

WHY = "No relay drains the outbox in "


@pytest.fixture
def publishing(make_pair) -> Pair:
    """A move that may switch, of a project that publishes; a relay drains legacy's."""
    pair = make_pair("sqlite")
    pay(pair.legacy, 3)
    pair.start()
    pair.follow()
    pair.verify()
    with using.atomic("payments") as alias:
        publish_event("payment.completed", {}, using=alias)
    add_relay(pair.legacy)
    return pair


def test_a_switch_is_refused_where_no_relay_would_send_its_events(publishing):
    home = publishing.modern
    with pytest.raises(MoveRefused, match=f"{WHY}'{home}'.*--database {home}"):
        publishing.switch("modern")
    with pytest.raises(CommandError, match=WHY):
        say("switch", "payments", "--to", "modern", "--dry-run")
    assert publishing.state().get().goal == ""

    add_relay(home)

    assert "It would close" in say("switch", "payments", "--to", "modern", "--dry-run")
    assert publishing.switch("modern") > 0


def test_a_relay_that_has_died_sends_nothing(publishing):
    add_relay(publishing.modern, left=-1)

    with pytest.raises(MoveRefused, match=WHY):
        publishing.switch("modern")


def test_the_way_back_asks_for_the_other_relay(publishing):
    add_relay(publishing.modern)
    publishing.switch("modern")
    publishing.follow()
    publishing.verify()
    RelayProcess.objects.using(publishing.legacy).all().delete()

    with pytest.raises(MoveRefused, match=f"{WHY}'{publishing.legacy}'"):
        publishing.switch("legacy")


def test_who_knows_better_switches_without_a_relay(publishing, monkeypatch):
    said = say("switch", "payments", "--to", "modern", "--without-relay")
    assert "lives on the modern side now" in said
    using.known.forget()
    publishing.follow()
    publishing.verify()
    RelayProcess.objects.using(publishing.legacy).all().delete()

    monkeypatch.setattr(publishing.move, "relays", False)  # Debezium, say.

    assert publishing.switch("legacy") > 0


def test_the_doctor_tells_before_somebody_switches(publishing):
    attend("payments", publishing.legacy)
    (found,) = watching.find()
    assert found.level is Level.TROUBLE
    assert found.text.startswith(f"{WHY}'{publishing.modern}'")

    add_relay(publishing.modern)

    assert [each.level for each in watching.find()] == [Level.FINE]


def test_while_rows_are_copied_no_relay_is_missed(publishing):
    attend("payments", publishing.legacy)
    publishing.state().update(stage="copying")

    assert [each.level for each in watching.find()] == [Level.FINE]


def test_who_publishes_nothing_needs_no_relay(publishing):
    for alias in (publishing.legacy, publishing.modern):
        OutboxEvent.objects.using(alias).all().delete()
        RelayProcess.objects.using(alias).all().delete()
    Lane.objects.using(publishing.legacy).all().delete()

    assert publishing.switch("modern") > 0


def test_a_mover_ends_what_was_begun_without_a_relay(publishing):
    publishing.state().update(goal="modern")  # Its process has died.
    mover = Mover(publishing.move)

    mover.step()

    assert publishing.state().get().stage == "following back"


def test_an_outbox_elsewhere_needs_no_relay_there(publishing, monkeypatch):
    monkeypatch.setattr(checking, "outbox_alias", lambda: "elsewhere")

    assert publishing.switch("modern") > 0
