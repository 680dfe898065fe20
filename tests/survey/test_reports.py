"""The page: one file, which needs nothing else, for eyes, keys and paper."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from selenium.webdriver.common.keys import Keys

from tests.waiting import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "survey.html"
    call_command("strangler_survey", html=file, stdout=StringIO(), stderr=StringIO())
    return file


class Parts(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append(value or "")
            if name == "id":
                self.ids.add(value or "")


def test_it_is_one_file_without_the_network(page):
    text = page.read_text()
    parts = Parts(text)

    assert all(link.startswith("#") for link in parts.links)
    assert {link[1:] for link in parts.links} <= parts.ids
    assert not {"link", "img", "iframe"} & set(parts.tags)
    assert not re.search(r"url\(|@import|fetch\(|https?://", text)


def test_it_has_each_tie_with_its_line_and_what_could_replace_it(page, surveyed):
    text = page.read_text()

    for each in surveyed.couplings:
        assert each.place in text
        assert text.count(each.what) >= 2  # With the one that knows and the one known.
    assert "Instead: " in text
    assert text.count("<path ") == len(
        {(each.source, each.target) for each in surveyed.couplings}
    )


def test_json_says_the_same(surveyed):
    out = StringIO()
    call_command("strangler_survey", json=True, stdout=out, stderr=StringIO())
    found = json.loads(out.getvalue())

    assert [
        (each["from"], each["to"], each["kind"], each["file"], each["line"])
        for each in found["couplings"]
    ] == [
        (each.source, each.target, each.kind.value, each.file, each.line)
        for each in surveyed.couplings
    ]
    assert found["domains"]["notifications"]["numbers"]["foreign_keys"] == [5, 5]
    assert found["order"] == ["reporting", "notifications", "payments", "users"]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(CommandError, match="cannot be written"):
        call_command(
            "strangler_survey",
            html=tmp_path / "no" / "x.html",
            stdout=StringIO(),
            stderr=StringIO(),
        )


@pytest.mark.slow
def test_it_is_read_by_keyboard_and_in_the_dark(page, browser):
    browser.get(page.as_uri())
    light = browser.execute_script("return getComputedStyle(document.body).color")

    browser.execute_script("document.querySelector('svg a').focus()")
    assert browser.execute_script("return document.querySelectorAll('.near').length")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(lambda: "#" in browser.current_url)
    summary = browser.execute_script(
        "const s = document.querySelector('details summary'); s.focus(); return s"
    )
    summary.send_keys(Keys.SPACE)
    wait_for(
        lambda: browser.execute_script("return document.querySelector('details').open")
    )

    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    wait_for(
        lambda: (
            light
            != browser.execute_script("return getComputedStyle(document.body).color")
        )
    )
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(
        "return [...document.querySelectorAll('details')].every((e) => e.open)"
    )
