"""``make demo`` does the main job and says so."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from unittest.mock import Mock
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor

import pytest
from demo.tables import Tables
from django.core.management import CommandError

from tests.services.ports import free_port
from tests.services.processes import started
from tests.waiting import wait_for

from .running import COMMAND, environment, on_a_terminal


@pytest.mark.slow
def test_without_a_terminal_it_makes_payments_and_ends_with_a_verdict():
    done = subprocess.run(
        COMMAND,
        env=environment(PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    payments = re.search(r"(\d+) payments completed", done.stdout)
    assert payments
    assert f"  {payments[1]} events confirmed, 0 pending, 0 parked" in done.stdout
    assert f"  {payments[1]} receipts mailed, 0 of them twice" in done.stdout
    assert "the relay is stopped; payments go on" in done.stdout
    assert (
        "the payments' tables have moved meanwhile. Writers waited for" in done.stdout
    )
    assert "\033" not in done.stdout
    assert "There is no flag" not in done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(
        "Each event confirmed and each receipt written exactly once."
    )


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_and_not_needed():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with on_a_terminal(PORT=str(port)) as demo:
            answer = urllib.request.urlopen(demo.address, timeout=60)
            code = demo.interrupt()

    assert f"Port {port} is taken" in demo.text
    assert answer.status == 200
    assert code == 0


@pytest.mark.slow
def test_its_relay_does_not_outlive_a_demo_that_was_killed():
    with on_a_terminal(PORT=str(free_port())) as demo:
        with urllib.request.urlopen(
            f"{demo.address}/demo/state/", timeout=60
        ) as answer:
            relay = json.load(answer)["relay"]
        before = started(relay)

        demo.process.kill()
        demo.process.wait(60)

        wait_for(lambda: started(relay) is None, 60)
    assert before is not None


@pytest.mark.parametrize(
    "path", ["relay", "rollout", "pay", "traffic", "bug", "texts", "tables"]
)
def test_the_page_s_buttons_need_its_token(path, client_of_the_demo):
    answer = client_of_the_demo.post(f"/demo/{path}/", {"do": "stop"})

    assert answer.status_code == 403


@pytest.fixture
def client_of_the_demo(settings, monkeypatch, tmp_path):
    from django.test import Client

    monkeypatch.setenv("DEMO_MAILS", str(tmp_path))
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "demo"]
    settings.ROOT_URLCONF = "demo.urls"
    return Client(enforce_csrf_checks=True, headers={"host": "127.0.0.1"})


@pytest.mark.parametrize(("refusal", "stops"), [(CommandError("No."), 0), (None, 1)])
def test_the_mover_goes_on_if_finish_is_refused(refusal, stops, monkeypatch):
    finish, mover = Mock(side_effect=refusal), Mock()
    monkeypatch.setattr("demo.tables.call_command", finish)
    tables = Tables(mover)

    tables.finish()

    assert finish.call_args.args == ("strangler_moves", "finish", "payments")
    assert mover.stop.call_count == stops


@pytest.mark.slow
@pytest.mark.parametrize(("button", "panel"), [("bug", "guard"), ("texts", "texts")])
def test_a_bug_is_taken_back_by_its_guard_and_mended(button, panel):
    with on_a_terminal(PORT=str(free_port())) as demo:
        token, opener = "", urllib.request.build_opener(HTTPCookieProcessor())
        with opener.open(demo.address, timeout=60) as answer:
            token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', str(answer.read()))
        assert token

        def press(button: str, **given: object) -> None:
            body = urlencode({"csrfmiddlewaretoken": token[1], **given}).encode()
            opener.open(f"{demo.address}/demo/{button}/", body, timeout=60).close()

        def shown() -> dict[str, object]:
            with opener.open(f"{demo.address}/demo/state/", timeout=60) as answer:
                return dict(json.load(answer)[panel])

        def pays_until(is_there: Callable[[], bool]) -> None:
            def paid() -> bool:
                press("pay", count=10)
                return is_there()

            wait_for(paid, 180)

        assert shown()["on"]
        press(button, do="break")
        pays_until(lambda: not shown()["on"])
        assert "It saw: " in str(shown()["says"])
        if panel == "texts":
            pays_until(lambda: bool(shown()["differs"]))
            old, new = shown()["differs"]
            assert re.search(r"€\d,\d{3}\.\d\d is through", old)
            assert re.search(r"€\d{1,3}\.\d\d is through", new)

        press(button, do="mend")
        assert shown()["on"]
        assert not shown()["mend"]
