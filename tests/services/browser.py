"""A real browser without a window: Debian's Chromium, driven by its chromedriver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selenium import webdriver
from selenium.common import WebDriverException

from . import sources
from .base import Unavailable
from .instances import program
from .leftovers import Run
from .ports import free_port

NAMES = ("chromium", "chromedriver")
PACKAGES = ("chromium", "chromium-driver", "fonts-dejavu-core")
FLAGS = (
    "--headless",
    "--no-sandbox",  # Root has to do without.
    "--disable-dev-shm-usage",  # A container's is small.
    "--disable-gpu",
    "--hide-scrollbars",
    # Nothing leaves the machine, nor is anything fetched unasked.
    "--no-proxy-server",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser(webdriver.Chrome):
    """Selenium's Chrome with what our tests ask of it."""

    def forget(self) -> None:
        """As if it had just been started: no cookie, no complaint, a wide window."""
        self.get("about:blank")
        self._command("Network.clearBrowserCookies")
        self._command("Emulation.setEmulatedMedia", media="", features=[])
        self.allow_scripts(True)
        self.resize(1280, 900)
        self.complaints()

    def log_in(self, client: Any, url: str) -> None:
        """Be whoever a Django test client is logged in as, on the live server's URL."""
        self._command(
            "Network.setCookie",
            name="sessionid",
            value=client.cookies["sessionid"].value,
            url=url,
        )

    def complaints(self) -> list[str]:
        """What went to the console since the last call, by a policy's refusal too."""
        said = [entry["message"] for entry in self.get_log("browser")]
        # It asks each site for an icon once, whatever the page.
        return [each for each in said if "/favicon.ico - " not in each]

    def resize(self, width: int, height: int) -> None:
        """Of the page, in CSS pixels; a phone is about 390 by 844."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """ "dark" or "light"."""
        self._command(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def allow_scripts(self, allowed: bool) -> None:
        """Whether pages that are loaded from now on may run scripts."""
        self._command("Emulation.setScriptExecutionDisabled", value=not allowed)

    def _command(self, name: str, /, **arguments: Any) -> Any:
        return self.execute_cdp_cmd(name, arguments)


def start(run: Run, announce: Callable[[str], None]) -> Browser:
    """A browser with a profile of its own, or Unavailable."""
    chromium, driver = _programs(announce)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={run.subfolder('chromium')}"):
        options.add_argument(flag)
    # Both are named, so that Selenium looks for neither, nor downloads one.
    service = webdriver.ChromeService(executable_path=driver, port=free_port())
    try:
        browser = Browser(options=options, service=service)
    except WebDriverException as error:
        said = str(error.msg).partition("\n")[0]
        raise Unavailable(f"chromium did not start: {said}") from error
    run.remember(service.process.pid)
    return browser


def _programs(announce: Callable[[str], None]) -> list[str]:
    try:
        return [program(name) for name in NAMES]
    except Unavailable as missing:
        try:
            sources.install_packages("Chromium", PACKAGES, announce)
        except Unavailable as error:
            raise Unavailable(f"{missing}; {error}") from error
    return [program(name) for name in NAMES]
