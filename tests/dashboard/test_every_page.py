"""
Every page of the admin in a real browser: nothing sticks out, and all of it is read.

`make browser` runs these tests on the newest Django, whose admin changes with each
version; SCREENSHOTS=… keeps what the browser saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from datetime import timezone as zones
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from selenium.webdriver.common.by import By

from django_strangler import feature_flags, publish_event
from django_strangler.models import (
    Flag,
    FlagChange,
    Guard,
    Incident,
    OutboxEvent,
    Pause,
)
from django_strangler.outbox import pauses

from .conftest import page_of
from .test_browser import CONTRAST, is_within_the_window, moving, open_page, photograph

__all__ = ["moving", "open_page"]

# Lists of Django's own are wider than a phone, and scroll.
SCROLLS = ("_changelist", "_history")


def admin(name: str, *args: object) -> str:
    return reverse(f"admin:{name}", args=args)


@pytest.fixture
def places(moving, handled) -> dict[str, str]:
    """Every page, by the name of its URL."""
    with transaction.atomic():
        publish_event("reminder.due", {}, delay=3600)
    feature_flags.set_rollout("notifications-v2", 25, by="ada", why="first users")
    feature_flags.include("notifications-v2", 7, by="ada", why="herself")
    feature_flags.start_ramp("notifications-v2", "50@+1d", "100@+7d", by="ada")
    pause = pauses.pause(
        Pause.Scope.TYPE, "payment.refunded", by="ada", why="refunds", using="default"
    )
    flag = Flag.objects.get(name="notifications-v2")
    stopped = Flag.objects.get(name="payments-v2")
    waiting = OutboxEvent.objects.get(type="reminder.due")
    parked = OutboxEvent.objects.parked().first()
    assert parked is not None
    group = urlencode({"reason": "unroutable", "type": "audit.written"})
    # What takes most room on a page, whatever time it is now.
    late = datetime(2026, 9, 28, 22, 58, tzinfo=zones.utc)
    Incident.objects.update(at=late)
    Incident.objects.exclude(resumed_at=None).update(resumed_at=late)
    return {
        "index": reverse("admin:index"),
        "app": "/admin/strangler/",
        **lists("strangler", "outboxevent", "flag", "flagchange"),
        **lists("strangler", "pause", "guard", "incident"),
        "event": page_of(handled),
        "event_parked": page_of(parked),
        "event_delayed": page_of(waiting),
        "replay": f"{admin('strangler_outboxevent_replay')}?{group}",
        "discard": f"{admin('strangler_outboxevent_discard')}?{group}",
        "cancel": f"{admin('strangler_outboxevent_cancel')}?event={waiting.pk}",
        "flag": admin("strangler_flag_change", flag.pk),
        "flag_add": admin("strangler_flag_add"),
        "flag_stopped": admin("strangler_flag_change", stopped.pk),
        "flag_history": admin("strangler_flag_history", flag.pk),
        "flag_delete": admin("strangler_flag_delete", flag.pk),
        "flag_off": admin("strangler_flag_off", flag.pk),
        "flag_resume": admin("strangler_flag_resume", stopped.pk),
        "change": admin("strangler_flagchange_change", FlagChange.objects.first().pk),
        "guard": admin("strangler_guard_change", Guard.objects.first().pk),
        "incident": admin("strangler_incident_change", Incident.objects.first().pk),
        "pause_add": admin("strangler_pause_add"),
        "pause": admin("strangler_pause_change", pause.pk),
        "pause_resume": admin("strangler_pause_resume", pause.pk),
        **sagas(),
        **keys(),
        **mismatches(),
    }


def lists(app: str, *models: str) -> dict[str, str]:
    names = [f"{app}_{model}_changelist" for model in models]
    return {name: admin(name) for name in names}


def is_there(app: str) -> bool:
    return apps.is_installed(f"django_strangler.{app}")


def sagas() -> dict[str, str]:
    if not is_there("sagas"):
        return {}
    from django_strangler.sagas.models import SagaRun, SagaStep, States

    run = SagaRun.objects.create(
        saga_id="0197a2f4-7a9a-7000-8000-000000000001",
        name="checkout",
        version=1,
        correlation="shop.order:17",
        digest="d" * 64,
        state=States.STUCK,
        step="capture",
        turn=3,
        data={"order": 17, "amount": "30.00"},
        reason="The pivot was not answered, so it is not known whether it was done.",
    )
    for turn, step in enumerate(("reserve", "authorise"), 1):
        SagaStep.objects.create(
            run=run, turn=turn, step=step, undoing=False, outcome="done"
        )
    name = "strangler_sagas_sagarun"
    return {
        **lists("strangler_sagas", "sagarun"),
        "saga": admin(f"{name}_change", run.pk),
        "saga_retry": admin(f"{name}_retry", run.pk),
    }


def keys() -> dict[str, str]:
    if not is_there("http_idempotency"):
        return {}
    from django_strangler.http_idempotency.models import IdempotentRequest, State

    row = IdempotentRequest.objects.create(
        digest="order-17".ljust(64, "."),
        key="order-17",
        scope="user:1",
        fingerprint="f" * 64,
        route="payments/<int:pk>/complete/",
        state=State.UNKNOWN,
        expires_at=timezone.now() + timedelta(days=7),
        locked_until=timezone.now() - timedelta(hours=1),
    )
    name = "strangler_http_idempotency_idempotentrequest"
    return {
        **lists("strangler_http_idempotency", "idempotentrequest"),
        "key": admin(f"{name}_change", row.pk),
    }


def mismatches() -> dict[str, str]:
    if not is_there("experiments"):
        return {}
    from django_strangler.experiments import experiment
    from django_strangler.experiments.models import Mismatch
    from django_strangler.experiments.recording import recorder

    @experiment("total-paid", candidate=lambda: {"total": "9.90", "currency": "EUR"})
    def total() -> dict[str, str]:
        return {"total": "9.9", "currency": "EUR"}

    total()
    recorder.write()
    first = Mismatch.objects.first()
    assert first is not None
    return {
        **lists("strangler_experiments", "mismatch", "experimenttotal"),
        "mismatch": admin("strangler_experiments_mismatch_change", first.pk),
    }


@contextmanager
def noted(name: str, wrong: list[str]) -> Iterator[None]:
    """An assertion that fails is told at the end, with all others."""
    try:
        yield
    except AssertionError as error:
        wrong.append(f"{name}: {error}")


def check_colours(browser) -> None:
    """Links of the breadcrumbs and buttons are told from what is behind them."""
    seen = "a.button, input[type=submit], .breadcrumbs a, .object-tools a"
    for each in browser.find_elements(By.CSS_SELECTOR, seen):
        if each.is_displayed() and each.text + (each.get_attribute("value") or ""):
            contrast = browser.execute_script(CONTRAST, each, "color")
            assert contrast >= 3, f"{each.text!r} has a contrast of {contrast:.1f}"


def check_breadcrumbs(browser) -> None:
    """They stand in a bar across the page, as Django's own do."""
    bar = browser.find_element(By.CSS_SELECTOR, ".breadcrumbs")
    link = bar.find_element(By.TAG_NAME, "a")
    assert bar.size["width"] > 1000
    assert link.location["x"] - bar.location["x"] >= 15, "glued to the edge"


def check_lists(browser) -> None:
    """No column is hidden, and none is so narrow that its words fall to pieces."""
    for each in browser.find_elements(By.CSS_SELECTOR, "#changelist .results"):
        sizes = "return [arguments[0].scrollWidth, arguments[0].clientWidth]"
        wanted, shown = browser.execute_script(sizes, each)
        assert wanted <= shown, f"the list needs {wanted} and has {shown} pixels"
    for row in browser.find_elements(By.CSS_SELECTOR, "#result_list tbody tr"):
        cells = row.find_elements(By.TAG_NAME, "td")
        longest = max(len(each.text) for each in cells)
        assert row.size["height"] < 90 or longest > 40, f"too narrow: {row.text!r}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_read_on_a_desk(places, browser, open_page, scheme):
    browser.prefer(scheme)
    wrong: list[str] = []
    for name, place in places.items():
        browser.resize(1280, 900)
        open_page(place)
        with noted(name, wrong):
            assert "Traceback" not in browser.title
            assert is_within_the_window(browser), "it is wider than the window"
            if name != "index":
                check_breadcrumbs(browser)
            check_colours(browser)
            check_lists(browser)
        photograph(browser, f"page-{name}-{scheme}")
    assert wrong == []


def test_every_page_fits_on_a_phone(places, browser, open_page):
    wrong: list[str] = []
    for name, place in places.items():
        browser.resize(390, 844)
        open_page(place)
        with noted(name, wrong):
            scrolls = name.endswith(SCROLLS)
            assert scrolls or is_within_the_window(browser), "it is wider than a phone"
        photograph(browser, f"page-{name}-phone")
    assert wrong == []
