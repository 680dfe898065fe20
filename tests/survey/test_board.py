"""Couplings on the board, and what moves are told of them."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from django_strangler import domains, feature_flags
from django_strangler.monitoring import board
from django_strangler.monitoring.board import Shown, Verdict
from django_strangler.survey import Kind, ratchet, shown
from django_strangler.survey.couplings import Edge
from django_strangler.survey.ratchet import Accepted

pytestmark = pytest.mark.django_db
TIE = Edge(
    "payments",
    "notifications",
    Kind.IMPORT,
    "payments/views.py",
    "notifications.services.send_payment_email",
)


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain of which nothing is left to do but its couplings."""
    quiet = Shown(domain="notifications", name="mails", sources=("route:mails",))
    registered = {"Routes": (10, lambda: [quiet]), "Couplings": (70, shown.couplings)}
    monkeypatch.setattr(board, "_registered", registered)


def row(domain: str = "notifications") -> board.Row:
    (found,) = board.rows(domain)
    return found


def test_nothing_is_safe_to_retire_while_a_coupling_leads_into_it(folder, moving):
    ratchet.write(ratchet.path(), {TIE: Accepted()})

    found = row()

    assert found.verdict is Verdict.GO_ON
    assert found.reasons == (
        "Couplings into notifications: 1 (1 from payments); such as import in "
        "payments/views.py: notifications.services.send_payment_email.",
    )
    assert found.next == (
        "See what to cut: manage.py strangler_survey --domain notifications",
    )


def test_couplings_out_of_it_go_with_it(folder, moving):
    ratchet.write(ratchet.path(), {TIE._replace(source=TIE[1], target="x"): Accepted()})

    assert row().verdict is Verdict.RETIRE
    assert row("x").verdict is Verdict.GO_ON


def test_nothing_is_safe_to_retire_while_nobody_has_looked(folder, moving):
    found = row()

    assert found.verdict is Verdict.GO_ON
    assert found.reasons == ("Nobody has looked for couplings into it.",)
    assert found.next == ("Look for couplings: manage.py strangler_survey --update",)
    assert [each.domain for each in board.rows()] == ["notifications"]


def test_the_status_explains_in_ten_lines(db):
    feature_flags.set_rollout("notifications-v2", 25)
    out = StringIO()

    call_command("strangler_status", domain="notifications", stdout=out)

    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("notifications: go on")
    assert any("notifications-v2 is not at 100 %" in line for line in lines)
    assert any("Couplings into notifications: 9" in line for line in lines)
    assert "--json" in lines[-1]


def test_the_ratchet_of_the_test_project_is_as_its_code_is(surveyed):
    known = ratchet.read(ratchet.path())

    assert known is not None
    assert {each.edge for each in surveyed.couplings} == set(known)


@pytest.fixture
def nothing_accepted(monkeypatch) -> None:
    """As if nobody had given a reason for any of the test project's ties."""
    known = ratchet.read(ratchet.path())
    assert known is not None
    monkeypatch.setattr(
        ratchet, "read", lambda path: dict.fromkeys(known, ratchet.Accepted())
    )


def test_what_has_a_reason_is_tied_no_more_for_moves():
    assert domains.ties(["payments.Payment"]) == []


def test_moves_are_told_what_ties_a_table_with_the_lines(nothing_accepted):
    ties = domains.ties(["payments.Payment"])

    assert (
        "notifications/models.py:77: foreign key from notifications to payments: "
        "notifications.Receipt.payment: payments.Payment"
    ) in ties
    assert (
        "reporting/queries.py:32: raw SQL from reporting to payments: payments_payment"
    ) in ties
    assert not any("Payout" in each or "payments_refund" in each for each in ties)


def test_what_moves_together_is_not_tied(nothing_accepted):
    models = ["payments.Payment", "users.User"]

    assert not any(
        each.endswith("payments.Payment.user: users.User")
        for each in domains.ties(models)
    )


def test_without_the_app_nobody_knows_of_ties(monkeypatch):
    monkeypatch.setattr(domains, "_knowing", [])

    assert domains.ties(["payments.Payment"]) == []


def test_a_broken_ratchet_is_said_and_not_passed_over(folder: Path, moving):
    ratchet.path().write_text(json.dumps({"couplings": 3}))

    with pytest.raises(ratchet.BadRatchet, match="--update"):
        board.rows()
