"""Held against lists that people wrote: each tie is found, and none invented."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import grimp
import pytest
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from rest_framework.viewsets import GenericViewSet
from users.views import sign_up

from django_strangler.survey import Kind, advice, inventory, reports

from . import shop

PROJECT = Path(__file__).parents[2] / "testproject"


@pytest.fixture(scope="module")
def key() -> set[tuple[str, ...]]:
    """The table of the test project's README."""
    text = (PROJECT / "README.md").read_text()
    found = set()
    for line in text.partition("### Tie by tie")[2].splitlines():
        cells = [each.strip() for each in line.strip("|").split(" | ")]
        if len(cells) == 5 and cells[3].startswith("`"):
            source, target, kind, file, whats = cells
            for what in re.findall(r"`([^`]+)`", whats):
                found.add((source, target, kind, file.strip("`"), what))
    return found


def test_the_ties_of_the_test_project_are_found_and_none_is_invented(key, surveyed):
    found = {
        (each.source, each.target, each.kind.value, each.file, each.what)
        for each in surveyed.couplings
    }

    assert len(key) > 80
    assert key - found == set()
    assert found - key == set()


def test_each_line_says_what_is_tied(surveyed):
    for each in surveyed.couplings:
        line = (PROJECT / each.file).read_text().splitlines()[each.line - 1]
        names = re.findall(r"\w+", each.what)
        if each.kind is Kind.SIGNAL:
            names = ["receiver"]
        if each.kind is Kind.SETTING:
            names = names[:1]
        if each.kind is Kind.TEMPLATE:
            names = ["user", "payment", "refund"]
        assert any(name in line for name in names), (each, line)


def test_every_kind_of_tie_is_found_with_its_line_and_none_is_invented(shop_folder):
    found = {
        (
            each["from"],
            each["to"],
            each["kind"],
            f"{each['file']}:{each['line']}" if each["line"] else each["file"],
            each["what"],
        )
        for each in shop.survey(shop_folder)["couplings"]
    }

    assert shop.TIES - found == set()
    assert found - shop.TIES == set()
    observed = {"join", "transaction", "foreign write", "write in a GET"}
    observed |= {"signal in a transaction", "signal outside of transactions"}
    kinds = {kind for _, _, kind, _, _ in shop.TIES} | {"import for types"}
    assert kinds == {each.value for each in Kind} - observed


def test_imports_are_those_that_grimp_sees(surveyed):
    apps = ("users", "payments", "notifications", "reporting")
    graph = grimp.build_graph(*apps, "monolith", cache_dir=None)
    domain = re.compile(r"\w+")
    seen = set()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            ends = domain.match(module)[0], domain.match(other)[0]
            if ends[0] != ends[1] and ends[0] in apps and "migrations" not in module:
                for each in graph.get_import_details(importer=module, imported=other):
                    file = Path(*module.split(".")).with_suffix(".py")
                    seen.add((*ends, str(file)))
                    assert each["line_number"]

    ours = {
        (each.source, each.target, each.file)
        for each in surveyed.couplings
        if each.kind in (Kind.IMPORT, Kind.TYPES)
    }
    assert ours == seen


def test_what_each_domain_has_is_listed(surveyed):
    has = surveyed.domains["notifications"]

    assert has.tables == [
        "notifications_emaillog",
        "notifications_notificationpreference",
        "notifications_receipt",
    ]
    assert has.urls == ["/notifications/users/<int:user_id>/"]
    assert "notifications.tasks.resend_failed_emails" in has.jobs
    assert (
        "resend-failed-emails: notifications.tasks.resend_failed_emails" in has.schedule
    )
    assert "receipts: payment.completed" in has.subscribers
    assert surveyed.domains["payments"].commands == ["seed"]
    assert set(surveyed.domains["payments"].events) == {
        "payment.created",
        "payment.completed",
        "payment.failed",
        "payment.refunded",
    }
    assert surveyed.domains["monolith"].is_shared


def test_what_cannot_be_read_is_said_and_the_rest_is_read(shop_folder):
    assert "stock/broken.py cannot be read" in str(shop.survey(shop_folder)["troubles"])


def test_what_no_foreign_key_points_at_is_extracted_first(shop_folder):
    order = shop.survey(shop_folder)["order"]

    assert order.index("orders") < order.index("stock")
    assert order[-1] == "people"
    assert "shared" not in order


def test_a_view_is_known_whatever_stands_around_it():
    class Page(View):
        pass

    class Things(GenericViewSet):
        pass

    cached = method_decorator(never_cache, "dispatch")(Page)
    assert inventory._view(never_cache(Page.as_view())) is Page
    assert inventory._view(cached.as_view()) is Page
    assert inventory._view(csrf_exempt(Things.as_view({"get": "list"}))) is Things
    assert inventory._view(never_cache(sign_up)).__module__ == "users.views"


def test_the_fewest_imports_that_close_circles_are_named(surveyed):
    cut = advice.circles(surveyed.couplings)

    assert cut is not None
    left = {
        (each.source, each.target)
        for each in surveyed.couplings
        if each.kind is Kind.IMPORT and each not in cut
    }
    assert not any((other, one) in left for one, other in left)


def test_without_grimp_the_rest_is_told(surveyed, monkeypatch):
    monkeypatch.setitem(sys.modules, "grimp", None)

    assert advice.circles(surveyed.couplings) is None
    told = reports.report(surveyed, None, set())
    assert "Extract in this order" in "\n".join(reports.text(told, None))
