"""
The pages in a real browser, under the strictest policy that a project may have.

SCREENSHOTS=docs/images keeps what the browser saw, for the documentation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

import pytest
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from selenium.webdriver.common.by import By

from django_strangler import feature_flags
from django_strangler.clock import DatabaseNow
from django_strangler.evidence.statistics import Doubt, Ground
from django_strangler.feature_flags import guards
from django_strangler.models import EvidenceCount, FlagChange, OutboxEvent
from django_strangler.monitoring import board
from tests.waiting import wait_for

from .conftest import DASHBOARD, LIST, page_of, pages, parked, parked_now

POLICY = "default-src 'self'"


class StrictPolicy:
    """What a project with a content security policy has."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response


@pytest.fixture
def open_page(
    transactional_db, settings, live_server, browser, admin_client
) -> Iterator[Callable[[str], None]]:
    """open_page(path): as a superuser; in the end, nothing went to the console."""
    # The browser keeps connections for longer than the server's threads may touch the
    # database, which they share and need not close.
    live_server.thread.httpd._close_connections = lambda: None
    settings.MIDDLEWARE = [f"{__name__}.StrictPolicy", *settings.MIDDLEWARE]
    browser.log_in(admin_client, live_server.url)

    yield lambda path: browser.get(live_server.url + path)

    assert browser.complaints() == []
    browser.get("about:blank")  # It asks for nothing once the server is gone.


def photograph(browser, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        height = browser.execute_script("return document.body.scrollHeight")
        width = browser.execute_script("return innerWidth")
        browser.resize(width, height)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def is_within_the_window(browser) -> bool:
    return browser.execute_script(
        "return document.documentElement.scrollWidth <= innerWidth"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dashboard_is_light_and_dark_as_the_admin(
    busy_hour, browser, open_page, scheme
):
    browser.prefer(scheme)
    open_page(DASHBOARD)

    tile = browser.find_element(By.CSS_SELECTOR, ".strangler-numbers li")
    assert tile.value_of_css_property("background-color") == (
        "rgba(33, 33, 33, 1)" if scheme == "dark" else "rgba(248, 248, 248, 1)"
    )
    photograph(browser, f"dashboard-{scheme}")


def test_the_dashboard_fits_on_a_phone(busy_hour, browser, open_page):
    browser.resize(390, 844)
    open_page(DASHBOARD)

    assert is_within_the_window(browser)
    photograph(browser, "dashboard-phone")


@pytest.mark.parametrize("width", [1280, 390])
def test_an_event_s_page_fits(handled, browser, open_page, settings, width):
    settings.STRANGLER = {"TRACE_URL": "https://jaeger.example.com/trace/{trace_id}"}
    for type in ("payment.refunded", "user.notified"):
        OutboxEvent.objects.create(type=type, key=handled.key, body="{}")
    browser.resize(width, 844)
    open_page(page_of(handled))

    assert is_within_the_window(browser)
    if width == 1280:
        photograph(browser, "event")


@pytest.fixture
def hurried(browser) -> Iterator[None]:
    """Ten seconds pass in one."""
    source = "const slow = setInterval; setInterval = (f, ms) => slow(f, ms / 10)"
    command = "Page.addScriptToEvaluateOnNewDocument"
    script = browser.execute_cdp_cmd(command, {"source": source})
    yield
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_the_page_refreshes_itself(hurried, browser, open_page):
    open_page(DASHBOARD)
    browser.execute_script("document.getElementById('strangler').dataset.seen = 1")
    parked(3, type="audit.written")

    wait_for(lambda: "audit.written" in browser.page_source)
    # The same page, with other contents.
    assert browser.find_element(By.ID, "strangler").get_attribute("data-seen") == "1"

    # Whoever is logged out keeps what was seen last, and is told so.
    stale = browser.find_element(By.ID, "strangler-stale")
    assert not stale.is_displayed()
    Session.objects.all().delete()
    browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
    wait_for(stale.is_displayed)
    assert "audit.written" in browser.page_source


def test_all_of_it_works_without_scripts(busy_hour, browser, open_page):
    browser.allow_scripts(False)
    open_page(DASHBOARD)

    browser.find_element(By.LINK_TEXT, "Replay…").click()
    assert "Replay 31 parked events" in browser.find_element(By.TAG_NAME, "h1").text
    browser.find_element(By.CSS_SELECTOR, "input[type=submit]").click()

    said = browser.find_element(By.CLASS_NAME, "messagelist").text
    assert said == "31 events of type audit.written (unroutable) are pending again."
    assert parked_now() == 4
    browser.find_element(By.LINK_TEXT, "Refresh").click()
    assert "audit.written" not in browser.page_source


def test_no_script_of_others_runs(hostile, browser, open_page):
    for place in pages(hostile):
        open_page(place)  # Raises if an alert is open.
        assert is_within_the_window(browser) or place == LIST, place


@pytest.fixture
def moving(busy_hour, monkeypatch) -> None:
    """A domain on its way, one that a guard has stopped, one that is done."""
    monkeypatch.setattr(
        board, "_registered", {"Flags": (0, board.registered()["Flags"])}
    )
    board.register(
        "Routes",
        lambda: [
            board.Shown(
                domain=domain,
                name=f"{domain}-api",
                text=f"/api/{domain}/ to the service {domain}",
                sources=(f"route:{domain}-api",),
                flags=flags,
            )
            for domain, flags in (
                ("notifications", ("notifications-v2",)),
                ("payments", ("payments-v2",)),
                ("users", ()),
            )
        ],
    )
    today, days = int(time()) // 86400, []
    for ago in range(30):
        share = max(0, 25 - ago)
        for side, checked in (("modern", share), ("legacy", 100 - share)):
            for domain in ("notifications", "payments"):
                days.append((ago, f"route:{domain}-api", side, checked))
        days.append((ago, "route:users-api", "modern", 100))
    EvidenceCount.objects.bulk_create(
        EvidenceCount(
            process="",
            slice=today - ago,
            source=source,
            side=side,
            pair=f"{source} {side}"[:32],
            at=DatabaseNow(-ago * 86400),
            written_at=DatabaseNow(-ago * 86400),
            checked=checked,
            failed=0,
        )
        for ago, source, side, checked in days
    )
    guard = feature_flags.set_guard(
        "payments-v2", on=["route:payments-api"], action="off"
    )
    line = FlagChange.objects.filter(flag="payments-v2").first()
    said = Doubt(
        ground=Ground.BURST,
        source="route:payments-api",
        text="20 failures in a row, and no success between.",
    )
    assert guards.trip(guard, said, change=line and line.pk)


# Of WCAG 2: how far apart the colours of a text, or of a line, and of what is behind.
CONTRAST = """
const colours = (text) => text.match(/[\\d.]+/g).map(Number)
  .map((each, index) => text.startsWith("color(srgb") && index < 3 ? each * 255 : each);
const light = ([r, g, b]) => [r, g, b].map((each) => each / 255)
  .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
  .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
let behind = arguments[0];
const isClear = () => colours(getComputedStyle(behind).backgroundColor)[3] === 0;
while (behind.parentElement && isClear()) behind = behind.parentElement;
const pair = [getComputedStyle(arguments[0])[arguments[1]],
  getComputedStyle(behind).backgroundColor].map((each) => light(colours(each)));
return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_board_is_read_in_light_and_in_dark(moving, browser, open_page, scheme):
    browser.prefer(scheme)
    open_page(DASHBOARD)

    rows = browser.find_elements(By.CSS_SELECTOR, ".strangler-board tbody tr")
    verdicts = [row.find_element(By.TAG_NAME, "b").text for row in rows]
    assert verdicts == ["Go on", "Hold", "Safe to retire"]
    assert "20 failures in a row" in rows[1].text
    for row, (first, last) in zip(
        rows, [("0%", "25%")] * 2 + [("100%", "100%")], strict=True
    ):
        line = row.find_element(By.TAG_NAME, "polyline")
        assert line.size["width"] > 100
        assert f"from {first} to {last}" in row.text
        assert browser.execute_script(CONTRAST, line, "stroke") >= 3
        for text in row.find_elements(By.CSS_SELECTOR, "b, p, dt, dd"):
            assert browser.execute_script(CONTRAST, text, "color") >= 4.5, text.text
    assert is_within_the_window(browser)
    photograph(browser, f"board-{scheme}")


def test_the_board_fits_on_a_phone(moving, browser, open_page):
    browser.resize(390, 844)
    open_page(DASHBOARD)

    assert is_within_the_window(browser)
