"""What users' tests get: the pytest plugin and the TestCase mixin."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from unittest.mock import ANY

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import TestCase, TransactionTestCase

from django_strangler import publish_event
from django_strangler.exceptions import OutsideTransaction
from django_strangler.testing import PublishedEventsMixin, autocommit_allowed

ROOT = Path(__file__).parents[2]
PAYLOAD = {"paymentId": 42, "amount": Decimal("12.50"), "currency": "EUR"}


@pytest.fixture
def published(db):
    with transaction.atomic():
        group = Group.objects.create(name="1")
        publish_event("user.created", {"id": 7})
        publish_event(
            "payment.completed",
            PAYLOAD,
            key=group,
            headers={"tenant": "a"},
            correlation_id="r-1",
        )
    return group


def test_events_are_captured(published, published_events):
    assert [event.type for event in published_events] == [
        "user.created",
        "payment.completed",
    ]
    assert len(published_events) == 2
    assert published_events[-1].payload["amount"] == "12.50"
    assert published_events[:1][0].payload == {"id": 7}
    assert [event.key for event in published_events.of_type("payment.*")] == [
        f"auth.group:{published.pk}"
    ]


def test_nothing_is_captured_of_what_rolled_back(
    db, published_events, assert_published
):
    with suppress(RuntimeError), transaction.atomic():
        publish_event("payment.completed", {})
        raise RuntimeError

    assert published_events == []
    with pytest.raises(AssertionError, match=r"not published; nothing was"):
        assert_published("payment.completed")


def test_what_was_before_can_be_forgotten(published, published_events):
    published_events.clear()
    assert published_events == []

    with transaction.atomic():
        publish_event("user.deleted", {})
    assert [event.type for event in published_events] == ["user.deleted"]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"payload": PAYLOAD},
        {"payload": {"paymentId": 42, "amount": "12.50", "currency": ANY}},
        {"headers": {"tenant": "a"}},
        {"correlation_id": "r-1"},
        {"count": 1},
    ],
)
def test_assert_published_finds_it(published, assert_published, wanted):
    event = assert_published("payment.completed", key=published, **wanted)

    assert event.payload["paymentId"] == 42


def message(call, *args, **options):
    with pytest.raises(AssertionError) as error:
        call(*args, **options)
    return str(error.value)


def test_a_difference_is_readable(published, assert_published):
    text = message(
        assert_published,
        "payment.completed",
        key="auth.group:0",
        payload={"paymentId": 42, "amount": Decimal("12.05"), "currency": ANY},
        headers={"tenant": "b"},
    )

    lines = [line.strip() for line in text.splitlines()]
    assert "published once, never as wanted (- wanted, + published)" in text
    assert any(line.startswith("-") and "'amount': '12.05'" in line for line in lines)
    assert any(line.startswith("+") and "'amount': '12.50'" in line for line in lines)
    assert any(line.startswith("-") and "auth.group:0" in line for line in lines)
    assert any(line.startswith("+") and "'tenant': 'a'" in line for line in lines)
    # What agrees is not marked.
    assert not any(line[:1] in "-+" and "paymentId" in line for line in lines if line)


def test_another_type_is_told_with_what_there_was(published, assert_published):
    text = message(assert_published, "payment.complete")

    assert "Did you mean payment.completed?" in text
    assert "user.created: {'id': 7}" in text


def test_a_wrong_count_is_told(published, assert_published):
    text = message(assert_published, "payment.completed", count=2)

    assert "published once, not 2" in text


def test_the_opposite(published, published_events):
    published_events.assert_not_published("payment.failed")
    published_events.assert_not_published("payment.completed", key="another")

    text = message(published_events.assert_not_published, "payment.*")
    assert "payment.completed of auth.group:" in text


def test_another_database(make_db, published_events):
    alias = make_db("sqlite")
    with transaction.atomic(using=alias):
        publish_event("a.b", {}, using=alias)

    assert [event.type for event in published_events.using(alias)] == ["a.b"]


class MixinTests(PublishedEventsMixin, TestCase):
    def test_it_asserts(self):
        with transaction.atomic():
            publish_event("payment.completed", PAYLOAD, key="k")

        assert self.assert_published("payment.completed", key="k").key == "k"
        self.assert_not_published("payment.failed")
        with self.assertRaisesRegex(AssertionError, "12.05"):  # noqa: PT027
            self.assert_published("payment.completed", payload={"amount": "12.05"})

    def test_each_test_starts_empty(self):
        assert self.published_events == []

    @autocommit_allowed()
    def test_a_single_test_may_publish_outside_of_atomic(self):
        publish_event("payment.completed", {})

        self.assert_published("payment.completed")

    def test_the_others_may_not(self):
        with self.assertRaises(OutsideTransaction):  # noqa: PT027
            publish_event("payment.completed", {})


@autocommit_allowed()
class WholeClassTests(PublishedEventsMixin, TransactionTestCase):
    def test_a_class_may_as_well(self):
        publish_event("payment.completed", {})

        self.assert_published("payment.completed")


@pytest.mark.django_db
@pytest.mark.strangler_autocommit
def test_the_marker_allows_it(assert_published):
    publish_event("payment.completed", {})

    assert_published("payment.completed")


@pytest.mark.django_db
def test_without_the_marker_it_is_refused():
    with pytest.raises(OutsideTransaction):
        publish_event("payment.completed", {})


def run_pytest(folder, *arguments):
    environment = {
        name: value for name, value in os.environ.items() if "DJANGO" not in name
    }
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_the_plugin_imports_no_django(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing(request):\n"
        "    manager = request.config.pluginmanager\n"
        "    assert manager.hasplugin('django_strangler')\n"
        "    assert 'django_strangler.testing.plugin' in sys.modules\n"
        "    assert not [n for n in sys.modules if n.split('.')[0] == 'django']\n"
    )
    # pytest-django imports Django by itself.
    result = run_pytest(tmp_path, "--strict-markers", "-p", "no:django")

    assert result.returncode == 0, result.stdout + result.stderr
