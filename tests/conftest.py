"""What all tests have at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "django_strangler"
# Tests of an opt-in app are named as it is, and need it.
collect_ignore = [
    path.parent.name
    for path in PACKAGE.glob("*/apps.py")
    if f"django_strangler.{path.parent.name}" not in settings.INSTALLED_APPS
]

# The same examples in each run, and however slow it is: what has passed, passes.
# --hypothesis-profile=default looks for others.
hypothesis_settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("steady")

pytest_plugins = ["tests.services.plugin", "tests.services.fixtures"]


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """
    Of several processes, none shall begin a long file when the others are done.

    So those with slow tests come first, then those with many.
    """
    if hasattr(config, "workerinput"):  # One of several (pytest-xdist).
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: 0 if item.path in slow else 1 / tests[item.path])


@pytest.fixture(scope="session", autouse=True)
def all_is_declared() -> None:
    """
    What the apps declare is known before a test puts another registry in its place.

    A module is imported once: first while a test has emptied a registry, and what it
    declares would be gone with that test, for all later ones.
    """
    from django_strangler.inbox import subscribers

    subscribers.registry.all()
    if apps.is_installed("django_strangler.contracts"):
        from django_strangler.contracts.declare import registry

        registry.discover()
    if apps.is_installed("django_strangler.sagas"):
        from django_strangler.sagas import definitions

        definitions.registry.discover()
    if apps.is_installed("django_strangler.experiments"):
        from django_strangler.experiments.registry import discover

        discover()


@pytest.fixture(autouse=True)
def nothing_logged_yet() -> None:
    """Lines that another test has filled the log with, do not count."""
    from django_strangler.outbox import parkings

    parkings.announcer.forget()


@pytest.fixture(autouse=True)
def nothing_seen_yet() -> None:
    """What another test has noted, in this process, is no evidence."""
    from django_strangler.evidence.counts import counts

    counts.restart()


@pytest.fixture(autouse=True)
def publish_what_serves() -> None:
    """
    Most tests publish some payload under a type that the test project declares.

    Anew for each: who changes INSTALLED_APPS, lets apps be ready once more.
    """
    from django_strangler import extending

    extending.validators.clear()


@pytest.fixture
def bare_board(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A board without the test project's couplings, before anything was noted."""
    from django_strangler.evidence.noting import counts
    from django_strangler.monitoring import board

    shown = {
        title: of for title, of in board._registered.items() if title != "Couplings"
    }
    monkeypatch.setattr(board, "_registered", shown)
    counts.restart()
    yield
    counts.restart()
