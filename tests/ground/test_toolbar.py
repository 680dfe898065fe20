"""What django-debug-toolbar shows of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.core.checks.registry import registry
from django.test import Client, override_settings

from django_strangler import extending, feature_flags, toolbar

pytestmark = pytest.mark.django_db

PANEL = "django_strangler.toolbar.StranglerPanel"


@pytest.fixture
def watched() -> Iterator[None]:
    """With the toolbar installed; nobody listens afterwards, and nobody checks."""
    validators, watchers = extending.validators[:], extending.flag_watchers[:]
    checks = set(registry.registered_checks)
    with override_settings(
        DEBUG=True,
        INTERNAL_IPS=["127.0.0.1"],
        ROOT_URLCONF="tests.ground.toolbar_urls",
        INSTALLED_APPS=[*settings.INSTALLED_APPS, "debug_toolbar"],
        MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware"],
        DEBUG_TOOLBAR_PANELS=[PANEL],
        DEBUG_TOOLBAR_CONFIG={"SHOW_TOOLBAR_CALLBACK": lambda request: True},
    ):
        toolbar.StranglerPanel.ready()
        yield
    extending.validators[:], extending.flag_watchers[:] = validators, watchers
    registry.registered_checks = checks


def shown(client: Client, path: str) -> tuple[str, str]:
    """The page with its side bar, and the panel as the toolbar fetches it."""
    page = client.get(path).content.decode()
    found = re.search(r'data-(?:request|store)-id="([0-9a-f]+)"', page)
    assert found
    answer = client.get(
        "/__debug__/render_panel/",
        {"request_id": found[1], "store_id": found[1], "panel_id": "StranglerPanel"},
    )
    return page, answer.json()["content"]


def test_it_lists_the_events_and_answers_of_a_request(
    watched: None, client: Client
) -> None:
    feature_flags.set_rollout("ledger-v2", 100)

    page, panel = shown(client, "/pay/?events=2")

    assert "events: 2, answers of flags: 2" in page
    assert panel.count("payment.completed") == 2
    assert "&lt;b&gt;0" in panel
    assert "4242" not in panel  # Payloads may be anybody's.
    cells = re.findall(r"<td>(.*?)</td>", panel)
    assert cells[-4:] == ["ledger-v2", "on", "everybody", "2"]


def test_a_request_without_either_says_so(watched: None, client: Client) -> None:
    _, panel = shown(client, "/pay/?events=0")

    assert panel.count("None.") == 1


def test_a_thousand_events_are_counted_and_not_listed(
    watched: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolbar, "MOST", 3)

    page, panel = shown(client, "/pay/?events=5")

    assert "events: 5" in page
    assert panel.count("payment.completed") == 3
    assert "And 2 more." in panel


def test_outside_a_request_nothing_is_kept(watched: None) -> None:
    feature_flags.is_enabled("ledger-v2", "7")

    assert toolbar._seen.get() is None
