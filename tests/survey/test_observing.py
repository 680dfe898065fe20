"""What only running shows: joins, transactions, writes, signals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test import Client
from notifications.services import send_welcome_email
from payments import services
from payments.models import Payment
from reporting.queries import revenue_by_locale
from users.models import User
from users.services import sign_up

from django_strangler.survey import Kind
from django_strangler.survey.couplings import Coupling
from django_strangler.survey.observing import Observer, observing
from django_strangler.survey.territory import Territory

PROJECT = Path(__file__).parents[2] / "testproject"
pytestmark = pytest.mark.django_db


@pytest.fixture
def observer() -> Iterator[Observer]:
    territory = Territory()
    observer = Observer(territory)
    with observing(observer, territory):
        yield observer


def of(observer: Observer, kind: Kind) -> set[tuple[str, str, str, str]]:
    """Who, to whom, what, and the text of the line."""
    return {
        (each.source, each.target, each.what, line(each))
        for each in observer.seen
        if each.kind is kind
    }


def line(coupling: Coupling) -> str:
    path = PROJECT / coupling.file
    return path.read_text().splitlines()[coupling.line - 1].strip()


def test_a_transaction_that_writes_in_two_domains_is_seen_with_its_line(observer):
    sign_up(email="ada@example.com", password="x")

    preference = "notifications_notificationpreference"
    code = "preference.objects.using(using).get_or_create(user=instance)"
    assert of(observer, Kind.TRANSACTION) == {
        ("users", "notifications", f"users_user, {preference}", code)
    }
    assert of(observer, Kind.WRITE) == {("users", "notifications", preference, code)}
    assert observer.totals.crossing_transactions["users"] == 1


def test_two_transactions_of_one_function_are_two(observer, make_user):
    payment = Payment.objects.create(user=make_user(), amount=1)
    observer.seen.clear()

    @transaction.atomic
    def run(what: Callable[[], object]) -> None:
        what()

    run(lambda: services.fail(payment, reason="first"))
    run(lambda: send_welcome_email(payment.user))
    assert of(observer, Kind.TRANSACTION) == set()

    with transaction.atomic():
        run(lambda: services.fail(payment, reason="first"))
        run(lambda: send_welcome_email(User.objects.create_user("bob")))
    assert of(observer, Kind.TRANSACTION) != set()


def test_what_tests_write_themselves_ties_nothing(observer, make_user):
    with transaction.atomic():
        payment = Payment.objects.create(user=make_user(), amount=1)
        User.objects.update(locale="de")
        list(Payment.objects.filter(user__locale="de").values("user__email"))

    assert payment.pk
    assert of(observer, Kind.TRANSACTION) - of(observer, Kind.WRITE) == {
        each
        for each in of(observer, Kind.TRANSACTION)
        if each[3].startswith("preference")  # The signal's handler is the project's.
    }
    assert of(observer, Kind.JOIN) == set()


def test_a_join_across_domains_is_seen_also_in_raw_sql(observer):
    revenue_by_locale(date(2026, 1, 31))

    joined = of(observer, Kind.JOIN)
    assert {target for _, target, _, _ in joined} == {
        "payments",
        "users",
        "notifications",
    }
    assert {source for source, _, _, _ in joined} == {"reporting"}
    assert {text for _, _, _, text in joined} == {"cursor.execute("}


def test_a_signal_says_whether_it_fires_inside_of_a_transaction(observer, make_user):
    payment = Payment.objects.create(
        user=make_user(), amount=10, status=Payment.Status.COMPLETED
    )
    with transaction.atomic():
        services.refund(payment, amount=1, reason="")
    assert {each[:3] for each in of(observer, Kind.FIRED_INSIDE)} == {
        ("reporting", "payments", "post_save of payments.Refund: mark_stale")
    }
    assert of(observer, Kind.FIRED_OUTSIDE) == set()

    payment.refunds.create(amount=1)
    assert len(of(observer, Kind.FIRED_OUTSIDE)) == 1


def test_a_get_that_writes_is_seen_and_a_post_is_none(observer, admin_client: Client):
    assert admin_client.get("/reports/").status_code == 200

    assert {each[:3] for each in of(observer, Kind.GET)} == {
        ("reporting", "reporting", "reporting_dailysummary")
    }


def test_nothing_stays_behind(db):
    from django.db.transaction import Atomic

    before = Atomic.__exit__
    territory = Territory()
    observer = Observer(territory)
    with observing(observer, territory):
        pass

    assert Atomic.__exit__ is before
    assert observer not in connection.execute_wrappers


@pytest.fixture
def make_user():
    def make() -> User:
        return User.objects.create_user("ada@example.com", "ada@example.com", "x")

    return make
