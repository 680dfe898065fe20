"""The board: a verdict per domain, each reason in words."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from time import time

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client

from django_strangler import evidence, feature_flags
from django_strangler.clock import DatabaseNow
from django_strangler.models import EvidenceCount, FlagChange
from django_strangler.monitoring import board, trend
from django_strangler.monitoring.board import Shown, Verdict

from .conftest import queries

ROUTE = "route:payments-api"
FLAG = "payments-v2"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """What an app shows besides the flags."""
    found: list[Shown] = []
    flags = board.registered()["Flags"]
    monkeypatch.setattr(board, "_registered", {"Flags": (0, flags)})
    board.register("Routes", lambda: found)
    return found


@pytest.fixture
def db(evidence_db_rolled_back: str) -> str:
    return evidence_db_rolled_back


def route(**more: object) -> Shown:
    given = {"sources": (ROUTE,), "flags": (FLAG,), **more}
    return Shown(domain="payments", name="payments-api", **given)  # type: ignore[arg-type]


def in_days(alias: str, ago: int, *, legacy: int = 0, modern: int = 0, failed: int = 0):
    """What was seen so many days ago."""
    today = EvidenceCount.objects.using(alias)
    number = int(time()) // 86400 - ago
    for side, checked in (("legacy", legacy), ("modern", modern)):
        today.create(
            process="",
            slice=number,
            source=ROUTE,
            side=side,
            pair=f"{side} {ago}",
            at=DatabaseNow(-ago * 86400),
            written_at=DatabaseNow(-ago * 86400),
            checked=checked,
            failed=failed if side == "modern" else 0,
        )


def at_100_for(alias: str, days: int) -> None:
    feature_flags.set_rollout(FLAG, 100)
    change = FlagChange.objects.using(alias).filter(flag=FLAG).first()
    assert change is not None
    state = change.after
    # History is written once; so this is written again, as it would have been then.
    with connections[alias].cursor() as cursor:
        table = FlagChange._meta.db_table
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [change.pk])
    FlagChange(flag=FLAG, at=DatabaseNow(-days * 86400), before=None, after=state).save(
        using=alias
    )


def row(domain: str = "payments") -> board.Row:
    (found,) = board.rows(domain)
    return found


def test_a_flag_on_its_way_says_go_on_and_what_is_next(db: str, shown: list[Shown]):
    feature_flags.set_rollout(FLAG, 25)
    shown.append(route())

    found = row()

    assert found.verdict is Verdict.GO_ON
    assert found.next == ("Raise payments-v2 from 25 %.",)
    assert "payments-v2 is not at 100 %" in found.reasons[0]
    assert [each.name for each in found.shown["Flags"]] == [FLAG]


def test_an_incident_holds_and_says_why(db: str, shown: list[Shown]):
    feature_flags.set_rollout(FLAG, 25)
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    shown.append(route())
    for _ in range(20):
        evidence.note(ROUTE, ok=False)
    evidence.flush()

    found = row()
    assert found.verdict is Verdict.HOLD
    assert "20 failures in a row" in found.reasons[0]
    assert "flag resume payments-v2" in found.reasons[0]
    assert found.next == ()

    feature_flags.resume(FLAG)
    assert row().verdict is Verdict.GO_ON


def test_what_an_app_says_to_hold_for_holds(db: str, shown: list[Shown]):
    shown.append(route(hold=("The breaker of payments is open.",), flags=()))

    assert row().verdict is Verdict.HOLD
    assert row().reasons == ("The breaker of payments is open.",)


def test_silent_for_long_enough_is_safe_to_retire(db: str, shown: list[Shown]):
    at_100_for(db, 20)
    in_days(db, 16, legacy=10, modern=100)
    in_days(db, 1, modern=100)
    shown.append(route(quiet=(ROUTE,)))

    found = row()

    assert found.verdict is Verdict.RETIRE
    assert found.reasons[0].startswith("Quiet since ")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"legacy": 1}, "was seen on the legacy side"),
        ({"modern": 5, "failed": 1}, "failed on"),
    ],
)
def test_seen_or_failed_of_late_is_not(db: str, shown: list[Shown], more, reason):
    at_100_for(db, 20)
    in_days(db, 3, **more)
    shown.append(route(quiet=(ROUTE,)))

    found = row()

    assert found.verdict is Verdict.GO_ON
    assert reason in found.reasons[0]
    assert "less than 14 days ago" in found.reasons[0]


def test_at_100_percent_for_too_short_is_not(db: str, shown: list[Shown], settings):
    at_100_for(db, 3)
    shown.append(route())

    assert row().verdict is Verdict.GO_ON
    assert "only since" in row().reasons[0]

    settings.STRANGLER = {"RETIRE_AFTER": timedelta(days=2)}
    assert row().verdict is Verdict.RETIRE


def test_what_is_left_is_named(db: str, shown: list[Shown]):
    at_100_for(db, 20)
    shown.append(route(left=("2 couplings into payments are left.",)))

    assert row().verdict is Verdict.GO_ON
    assert row().reasons == ("2 couplings into payments are left.",)


def test_the_trend_is_the_modern_share_by_day(db: str, shown: list[Shown]):
    feature_flags.set_rollout(FLAG, 25)
    in_days(db, 2, legacy=99, modern=1)
    in_days(db, 1, legacy=75, modern=25)
    shown.append(route())

    found = row()

    assert list(found.trend[-3:]) == [0.01, 0.25, None]
    assert found.trend[0] is None
    assert found.share == 0.25


def test_a_trend_is_drawn_in_parts():
    line = trend.draw([0.0, 0.5, None, 1.0])

    assert line.parts == ("0.0,23.0 40.0,12.0", "120.0,1.0 118.0,1.0")
    assert line.words == "from 0% to 100%"
    assert trend.draw([None]).parts == ()


def test_legacy_code_is_shown_by_its_app(evidence_db_rolled_back: str):
    evidence.legacy("payments.send_payment_email")
    evidence.flush()

    (found,) = board.rows("payments")

    assert "legacy:payments.send_payment_email was seen" in " ".join(found.reasons)


def test_domains_may_be_named(db: str, shown: list[Shown], settings):
    settings.STRANGLER = {"DOMAINS": {"money": ["payments", "base.Invoice"]}}

    assert board.domain_of("payments") == "money"
    assert board.domain_of("payments.Payment") == "money"
    assert board.domain_of("base.Invoice") == "money"
    assert board.domain_of("base.Order") == "base"
    assert board.domain_of_module("payments.views") == "money"
    assert board.domain_of_module("nowhere") == ""


def test_the_board_reads_evidence_in_one_query(db: str, shown: list[Shown]):
    for number in range(20):
        shown.append(route(sources=(f"route:{number}",), flags=()))

    with queries(db) as seen:
        board.rows()

    assert len([sql for sql in seen if "evidence" in sql]) == 1


def status(*arguments: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command("strangler_status", *arguments, stdout=out)
    except CommandError as error:
        return out.getvalue() + str(error), error.returncode
    return out.getvalue(), 0


def test_the_status_says_the_same_and_exits_0(db: str, shown: list[Shown]):
    feature_flags.set_rollout(FLAG, 25)
    shown.append(route())

    text, code = status()

    assert code == 0
    assert "payments: go on" in text
    assert "Next: Raise payments-v2 from 25 %." in text


def test_the_status_exits_3_when_something_tripped(db: str, shown: list[Shown]):
    feature_flags.set_rollout(FLAG, 25)
    feature_flags.set_guard(FLAG, on=[ROUTE], action="off")
    shown.append(route())
    for _ in range(20):
        evidence.note(ROUTE, ok=False)
    evidence.flush()

    text, code = status("--json")
    assert code == 3
    assert json.loads(text.partition("Held")[0])[0]["verdict"] == "hold"
    assert status("--domain", "payments")[1] == 3


def test_an_unknown_domain_is_wrong_usage(db: str, shown: list[Shown]):
    shown.append(route())

    text, code = status("--domain", "unknown")

    assert code == 2
    assert "payments" in text


def test_the_status_of_nothing_says_so(db: str, shown: list[Shown]):
    assert status() == ("Nothing is being moved yet: there is no flag.\n", 0)


@pytest.mark.django_db
def test_all_that_apps_show_is_on_the_board(admin_client: Client):
    feature_flags.set_rollout(FLAG, 25)

    text, code = status()
    page = admin_client.get("/admin/strangler/").content.decode()

    assert list(board.registered()) == [
        "Flags",
        "Routes",
        "Branches",
        "Experiments",
        "Moves",
        "Sagas",
        "Idempotency keys",
        "Couplings",
        "Subscribers",
        "Legacy code",
    ]
    assert code == 0
    assert "Next: Raise payments-v2 from 25 %." in text
    assert "Next: Raise payments-v2 from 25 %." in page


def test_the_admins_page_shows_the_board(
    admin_client: Client, db: str, shown: list[Shown]
):
    feature_flags.set_rollout(FLAG, 25)
    shown.append(route(text="<b>25 %</b> of requests"))
    in_days(db, 1, legacy=75, modern=25)

    page = admin_client.get("/admin/strangler/").content.decode()

    assert "Go on" in page
    assert "Next: Raise payments-v2 from 25 %." in page
    assert "<polyline points=" in page
    assert "&lt;b&gt;25 %" in page
