"""``pytest --strangler-survey``, as a project runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import shop

pytestmark = pytest.mark.slow  # Each runs pytest, and some run several.

TESTS = """
import pytest
from orders.models import Order
from orders.rows import sell

@pytest.mark.django_db
@pytest.mark.parametrize("number", range(4))
def test_selling(number):
    sell()
"""
SELLING = """
from django.db import transaction
from people.models import Person
from stock.models import Item
from .models import Order

@transaction.atomic
def sell():
    person = Person.objects.create(name="Ada")
    order = Order.objects.create(person=person)
    return list(Item.objects.filter(orders__person__name="Ada").values("name"))
"""


@pytest.fixture
def project(shop_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    shutil.copytree(shop_folder, folder)
    (folder / "orders/rows.py").write_text(SELLING)
    (folder / "test_shop.py").write_text(TESTS)
    return folder


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--rootdir", str(folder), "test_shop.py", *options),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{folder}{os.pathsep}{shop.ROOT}",
            "DJANGO_SETTINGS_MODULE": "conf.settings",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    "options", [(), ("-n", "2")], ids=["one process", "two processes"]
)
def test_the_survey_tells_what_the_tests_have_seen(project, options):
    done = run(project, "--strangler-survey", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "strangler-survey:" in done.stdout

    found = shop.survey(project)
    seen = {
        (each["from"], each["to"], each["kind"], each["what"], each["line"])
        for each in found["couplings"]
    }
    assert (
        *("orders", "people", "transaction", "people_person, orders_order"),
        10,
    ) in seen
    assert ("orders", "people", "foreign write", "people_person", 9) in seen
    joined = "orders_order, orders_order_items, people_person, stock_item"
    assert ("orders", "stock", "join", joined, 11) in seen
    assert found["domains"]["orders"]["numbers"]["transactions"] == [4, 4]


def test_nothing_is_written_unless_it_was_asked_for(project):
    assert run(project).returncode == 0

    assert not (project / "strangler_survey_observed.json").exists()


def test_a_project_without_the_app_is_told_what_is_missing(project):
    settings = project / "conf/settings.py"
    settings.write_text(settings.read_text().replace('"django_strangler.survey",', ""))

    done = run(project, "--strangler-survey")

    assert done.returncode == 4
    assert "INSTALLED_APPS" in done.stdout + done.stderr


def test_observed_ties_pass_the_ratchet_as_all_others_do(project):
    run(project, "--strangler-survey")
    shop.manage(project, "strangler_survey", "--update")
    ratchet = project / "strangler_survey.json"
    known = json.loads(ratchet.read_text())
    assert "join" in {each["kind"] for each in known["couplings"]}
    shop.manage(project, "strangler_survey", "--check")

    known["couplings"] = [e for e in known["couplings"] if e["kind"] != "join"]
    ratchet.write_text(json.dumps(known))

    assert "new: orders -> stock, join" in shop.manage(
        project, "strangler_survey", "--check", code=3
    )
