"""The demo's page, in a real browser."""

from __future__ import annotations

import pytest
from selenium.common import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.services.ports import free_port
from tests.waiting import wait_for

from .running import on_a_terminal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo():
    with on_a_terminal(PORT=str(free_port())) as demo:
        yield demo


@pytest.fixture
def page(browser, demo):
    browser.get(demo.address)
    yield Page(browser)
    assert browser.complaints() == []  # The content security policy's among them.


class Page:
    def __init__(self, browser):
        self.browser = browser

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def number(self, name):
        return int(self.one(f"[data-count={name}]").text.replace(",", ""))

    def press(self, selector):
        """Without a mouse."""
        self.one(selector).send_keys(Keys.ENTER)

    def moved(self):
        """Ids of the users whom events serve."""
        found = self.browser.execute_script(
            "return [...document.querySelectorAll('#users [data-moved=yes]')]"
            ".map((each) => each.value)"
        )
        return {int(each) for each in found}

    def slide(self, *keys):
        self.one("#percentage").send_keys(*keys)


def test_a_payment_is_followed_from_the_outbox_to_its_receipt(page):
    before = page.number("payments")

    page.press("button.main")

    wait_for(lambda: page.number("payments") > before, 10)
    wait_for(lambda: "receipt by" in page.one("#payments li").text, 20)
    page.one("#payments summary").click()
    assert '"paymentId"' in page.one("#payments pre").text
    wait_for(lambda: "a receipt for each" in page.one("#balance").text, 20)


def test_without_its_relay_events_wait_and_with_it_they_arrive(page):
    page.press("#relay ~ form [value=stop]")
    wait_for(lambda: "Nobody" in page.one("#relay-says").text, 10)
    page.press("[name=count][value='10']")
    wait_for(lambda: page.number("pending") >= 20, 20)
    piled = len(page.browser.find_elements(By.CSS_SELECTOR, "#pile i"))
    page.press("#relay ~ form [value=start]")

    wait_for(lambda: page.number("pending") <= 2, 30)

    assert piled >= 20
    assert "It runs" in page.one("#relay-says").text


def test_a_killed_relay_s_events_go_to_the_next_one(page):
    payments, handled = page.number("payments"), page.number("handled")
    page.press("#relay ~ form [value=kill]")
    wait_for(lambda: "Nobody" in page.one("#relay-says").text, 10)
    page.press("[name=count][value='10']")
    wait_for(lambda: page.number("payments") >= payments + 10, 20)
    page.press("#relay ~ form [value=start]")

    wait_for(lambda: page.number("handled") >= handled + 20, 30)

    assert not page.one("#parked").is_displayed()


def test_raising_the_rollout_keeps_everybody_who_is_in(page):
    page.slide(Keys.HOME)
    wait_for(lambda: page.moved() == set(), 10)
    page.slide(*[Keys.ARROW_RIGHT] * 30)
    wait_for(lambda: len(page.moved()) > 10, 10)
    wait_for(lambda: "30 %" in page.one("#rollout-says").text, 10)
    at_30 = page.moved()

    page.slide(Keys.END)

    wait_for(lambda: len(page.moved()) == 100, 10)
    assert 15 <= len(at_30) <= 45
    page.slide(*[Keys.ARROW_LEFT] * 70)
    wait_for(lambda: page.moved() == at_30, 10)


def test_arrows_go_from_user_to_user_and_enter_pays(page):
    page.slide(Keys.END)
    first = page.one("#users button")
    first.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)

    focused = page.browser.switch_to.active_element
    focused.send_keys(Keys.ENTER)

    assert focused.get_attribute("value") == "22"
    wait_for(lambda: "user 22" in page.one("#payments").text, 10)


def test_it_works_without_a_script(browser, demo):
    browser.allow_scripts(False)
    browser.get(demo.address)
    page = Page(browser)
    before = page.number("payments")

    page.press("button.main")

    # The page is another one after the click.
    gone = (NoSuchElementException, StaleElementReferenceException)
    wait_for(lambda: page.number("payments") > before, 10, ignoring=gone)
    assert f"Payment {before + 1}" in page.one("#payments").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_schemes(page, scheme):
    page.browser.resize(390, 844)
    page.browser.prefer(scheme)

    width, paper = page.browser.execute_script(
        "return [document.documentElement.scrollWidth,"
        " getComputedStyle(document.body).backgroundColor]"
    )

    assert width <= 390
    brightness = sum(map(int, paper.removeprefix("rgb(").rstrip(")").split(",")))
    assert (brightness < 200) == (scheme == "dark")
