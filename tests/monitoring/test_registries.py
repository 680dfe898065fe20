"""What apps add: parts of the doctor, panels of the page, metrics of the scrape."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.db import OperationalError

from django_strangler import counting
from django_strangler.findings import Finding, Level
from django_strangler.monitoring import examinations, panels
from django_strangler.monitoring.doctor import Diagnosis, Doctor
from django_strangler.monitoring.metrics import StranglerCollector


@pytest.fixture
def registries(monkeypatch) -> Iterator[None]:
    """Empty ones, and what a test registers does not stay."""
    monkeypatch.setattr(examinations, "_examinations", {})
    monkeypatch.setattr(panels, "_panels", {})
    yield
    counting.forget("lab_things")


def examined(alias: str, part: str) -> list[Diagnosis]:
    return [each for each in Doctor(alias).examine() if each.part == part]


def test_the_doctor_asks_what_is_registered(registries, sqlite_db):
    found = Finding(Level.TROUBLE, "It leaks", "Mend it")
    examinations.register("lab", lambda: [found])

    assert examined(sqlite_db, "lab") == [
        Diagnosis("lab", Level.TROUBLE, "It leaks", "Mend it")
    ]


def test_an_examination_that_fails_spoils_no_other(registries, sqlite_db):
    def fail() -> Iterator[Finding]:
        raise RuntimeError("no\nidea")
        yield

    examinations.register("lab", fail)
    examinations.register("cellar", lambda: [Finding(Level.FINE, "Dry")])

    (lab,) = examined(sqlite_db, "lab")
    assert (lab.level, lab.what) == (Level.TROUBLE, "It failed: no idea")
    assert examined(sqlite_db, "cellar")


def test_a_scrape_shows_what_is_registered():
    things = counting.histogram("lab_things", "Things.", ("kind",), buckets=(1, 2))
    try:
        things.observe("a", 1.5)

        (family,) = [
            each
            for each in StranglerCollector(()).collect()
            if each.name == "strangler_lab_things"
        ]
    finally:
        counting.forget("lab_things")

    values = {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in family.samples
    }
    assert values == {
        ("strangler_lab_things_bucket", "1.0"): 0,
        ("strangler_lab_things_bucket", "2.0"): 1,
        ("strangler_lab_things_bucket", "+Inf"): 1,
        ("strangler_lab_things_count", None): 1,
        ("strangler_lab_things_sum", None): 1.5,
    }


def test_a_gauge_that_fails_does_not_end_the_scrape(registries, caplog):
    def fail() -> float:
        raise OperationalError("gone")

    counting.gauge("lab_things", "Things.", read=fail)
    with caplog.at_level(logging.WARNING, "django_strangler.monitoring"):
        names = [each.name for each in StranglerCollector(()).collect()]

    assert "strangler_up" in names
    assert "strangler_lab_things" not in names
    assert "The metric 'lab_things' cannot be read" in caplog.text
