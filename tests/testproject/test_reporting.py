from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone as django_timezone
from notifications.services import send_payment_email
from payments.models import Payment
from reporting.models import DailySummary
from reporting.queries import revenue_by_locale
from reporting.summaries import summarise
from reporting.tasks import summarise_yesterday

pytestmark = pytest.mark.django_db

DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.fixture
def make_completed(make_payment):
    def make(**fields):
        fields = {"completed_at": NOON, **fields}
        return make_payment(status=Payment.Status.COMPLETED, **fields)

    return make


def test_a_summary_counts_one_day(make_user, make_completed, make_payment):
    user = make_user(date_joined=NOON)
    payment = make_completed(user=user)
    make_completed(user=user, amount=Decimal("0.50"))
    make_completed(user=user, currency="USD", completed_at=NOON + timedelta(hours=11))
    make_completed(user=user, completed_at=NOON + timedelta(hours=12))
    make_payment(user=user)
    payment.refunds.create(amount=Decimal("1.50"), created_at=NOON)

    summary = summarise(DAY)

    assert (summary.signups, summary.payments, summary.emails) == (1, 3, 0)
    assert summary.totals == {"EUR": "13.00", "USD": "12.50"}
    assert summary.refunds == {"EUR": "1.50"}


def test_a_later_refund_makes_a_summary_stale(make_completed):
    payment = make_completed()
    summarise(DAY)

    payment.refunds.create(amount=1, created_at=NOON)

    assert DailySummary.objects.get().stale


def test_the_job_summarises_yesterday_and_what_is_stale(make_completed):
    DailySummary.objects.create(day=DAY, stale=True)
    make_completed()

    yesterday = summarise_yesterday()

    assert not DailySummary.objects.filter(stale=True).exists()
    assert DailySummary.objects.get(day=DAY).payments == 1
    assert DailySummary.objects.filter(day=yesterday).exists()


def test_revenue_is_broken_down_by_locale(make_user, make_completed):
    german = make_user(locale="de")
    paid = make_completed(user=german, amount=Decimal("0.10"))
    paid.refunds.create(amount=Decimal("0.04"))
    paid.refunds.create(amount=Decimal("0.05"))
    send_payment_email(paid)
    make_completed(user=german, amount=Decimal("0.20"))
    make_completed(completed_at=NOON - timedelta(days=1))

    [revenue] = revenue_by_locale(DAY)

    assert (revenue.locale, revenue.currency) == ("de", "EUR")
    assert (revenue.payments, revenue.unnotified) == (2, 1)
    assert (revenue.gross, revenue.refunded) == (Decimal("0.30"), Decimal("0.09"))


def test_the_command_prints_a_day(make_completed):
    make_completed()
    out = StringIO()

    call_command("summarise", day=DAY, stdout=out)

    assert out.getvalue().splitlines() == [
        "2026-01-31: 1 payments",
        "en EUR 12.50 (0.00 refunded)",
    ]


def test_staff_see_the_report(admin_client, make_completed):
    make_completed()

    seen = admin_client.get("/reports/", {"day": "2026-01-31"}).json()

    assert (seen["day"], seen["payments"]) == ("2026-01-31", 1)
    assert [each["gross"] for each in seen["revenue"]] == ["12.50"]


def test_the_report_is_of_today_unless_told_otherwise(admin_client):
    seen = admin_client.get("/reports/").json()

    assert seen["day"] == django_timezone.now().date().isoformat()


def test_the_report_refuses_a_bad_day(admin_client):
    assert admin_client.get("/reports/", {"day": "soon"}).status_code == 400


def test_others_are_sent_to_log_in(get):
    assert get("reporting:report").status_code == 302
