"""The browser sees pages as people do, and starts each test as if it were new."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By

from tests.waiting import wait_for

PAGE = b"""<!doctype html><meta name=viewport content="width=device-width">
<style>body { color: rgb(1, 1, 1) }
@media (prefers-color-scheme: dark) { body { color: rgb(9, 9, 9) } }</style>
<link rel=icon href="data:,"><p id=said></p>
<script>said.textContent = innerWidth; console.error("oh no")</script>"""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def page() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def color(browser) -> str:
    return browser.find_element(By.TAG_NAME, "body").value_of_css_property("color")


def test_scripts_run_and_the_console_is_heard(browser, page) -> None:
    browser.get(page)

    assert browser.find_element(By.ID, "said").text == "1280"
    assert any("oh no" in each for each in wait_for(browser.complaints))
    assert browser.complaints() == []


def test_a_phone_in_the_dark_without_scripts(browser, page) -> None:
    browser.resize(390, 844)
    browser.prefer("dark")
    browser.get(page)
    assert browser.find_element(By.ID, "said").text == "390"
    assert color(browser) == "rgba(9, 9, 9, 1)"

    browser.allow_scripts(False)
    browser.get(page)
    assert browser.find_element(By.ID, "said").text == ""


def test_the_next_test_gets_a_new_one(browser, page) -> None:
    browser.get(page)

    assert browser.find_element(By.ID, "said").text == "1280"
    assert color(browser) == "rgba(1, 1, 1, 1)"
