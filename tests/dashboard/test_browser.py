"""
The pages in a real browser, under the strictest policy that a project may have.

SCREENSHOTS=docs/images keeps what the browser saw, for the documentation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from selenium.webdriver.common.by import By

from django_strangler.models import OutboxEvent
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

    wait_for(lambda: "audit.written" in browser.page_source, 20)
    # The same page, with other contents.
    assert browser.find_element(By.ID, "strangler").get_attribute("data-seen") == "1"

    # Whoever is logged out keeps what was seen last, and is told so.
    Session.objects.all().delete()
    stale = browser.find_element(By.ID, "strangler-stale")
    assert not stale.is_displayed()
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
