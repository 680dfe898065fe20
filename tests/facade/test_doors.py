"""Checks, the doctor, the panel, the command, and ASGI."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from django_strangler import feature_flags
from django_strangler.facade import access_log, nginx
from django_strangler.facade.checks import check_routes, check_threads
from django_strangler.facade.examining import examine
from django_strangler.findings import Level
from tests.services_client.conftest import new_private_key
from tests.services_client.servers import Talk, fine

pytestmark = pytest.mark.django_db


def ids() -> list[str | None]:
    return [each.id for each in check_routes(None)]


class TestChecks:
    @pytest.fixture(autouse=True)
    def well(self, make_route: Any, settings: Any) -> None:
        make_route("http://127.0.0.1:9")
        keys = {"KEYS": [new_private_key()]}
        settings.STRANGLER = {**settings.STRANGLER, "IDENTITY": keys}

    def test_nothing_is_said_when_all_is_well(self):
        assert ids() == []

    def test_routes_that_nobody_looks_at(self, settings):
        settings.MIDDLEWARE = []
        assert ids() == ["strangler_facade.E001"]

    def test_a_middleware_that_knows_no_user(self, settings):
        settings.MIDDLEWARE = settings.MIDDLEWARE[::-1]
        assert ids() == ["strangler_facade.E002"]

    def test_a_service_that_is_not_there(self, settings):
        settings.STRANGLER = {**settings.STRANGLER, "SERVICES": {}}
        assert ids() == ["strangler_facade.E003"]

    def test_no_keys(self, settings):
        settings.STRANGLER = {**settings.STRANGLER, "IDENTITY": {}}
        assert ids() == ["strangler_facade.W001"]

    def test_the_same_prefix_twice(self, make_route):
        make_route("http://127.0.0.1:9", name="again")
        assert "strangler_facade.W002" in ids()


def test_a_deployment_is_told_of_a_cap_that_nobody_has_set(make_route, settings):
    make_route("http://127.0.0.1:9")
    assert [each.id for each in check_threads(None)] == ["strangler_facade.W003"]

    settings.STRANGLER = {
        "SERVICES": {"*": {"MAX_IN_FLIGHT": 8}, "payments": "http://127.0.0.1:9"}
    }
    assert check_threads(None) == []


def test_the_doctor_knows_who_listens_and_which_flag_is_missing(serve, make_route):
    make_route(serve(fine))
    found = list(examine())
    assert [each.level for each in found] == [Level.FINE, Level.UNKNOWN]
    assert "flag set payments-v2 0" in found[1].todo

    make_route("http://127.0.0.1:9", name="other")
    assert next(iter(examine())).level is Level.TROUBLE


def test_the_page_shows_routes_to_who_may_see_flags(make_route, settings):
    make_route("http://127.0.0.1:9", regex=r"/<script>/")
    settings.ROOT_URLCONF = "monolith.urls"
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    feature_flags.set_rollout("payments-v2", 25, by="me", why="test")
    client = Client()
    client.force_login(
        get_user_model().objects.create_superuser(username="a", email="a@x.com")
    )

    text = client.get("/admin/strangler/").content.decode()

    assert "payments-api" in text
    assert "<script>/" not in text
    assert "25" in text


@pytest.mark.parametrize("mode", ["accel", "auth", "split"])
def test_a_configuration_agrees_until_something_changes(
    make_route, tmp_path, mode, monkeypatch
):
    make_route("http://127.0.0.1:9")
    feature_flags.set_rollout("payments-v2", 10, by="me", why="test")
    out = StringIO()
    call_command("strangler_nginx", f"--mode={mode}", stdout=out)
    file = tmp_path / "nginx.conf"
    file.write_text(f"http {{\n{out.getvalue()}\n}}\n")

    def check() -> int:
        try:
            call_command(
                "strangler_nginx",
                f"--check={file}",
                stdout=StringIO(),
                stderr=StringIO(),
            )
        except SystemExit as exit:
            return int(exit.code or 0)
        return 0

    assert check() == 0
    feature_flags.set_rollout("payments-v2", 11, by="me", why="test")
    assert check() == (3 if mode == "split" else 0)
    make_route("http://127.0.0.1:9", "/more/", name="more")
    assert check() == 3


def test_a_file_without_our_part_is_an_error(make_route, tmp_path):
    make_route("http://127.0.0.1:9")
    (tmp_path / "nginx.conf").write_text("http { }")
    for name in ("nginx.conf", "missing.conf"):
        with pytest.raises(CommandError):
            call_command("strangler_nginx", f"--check={tmp_path / name}")


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("split", {"subject": lambda request: 1}),
        ("split", {"view_names": ["payment"]}),
        ("auth", {"rewrite": lambda raw: raw}),
    ],
)
def test_what_nginx_cannot_do_is_said(make_route, mode, options):
    make_route("http://127.0.0.1:9", **options)

    with pytest.raises(CommandError, match="payments-api"):
        call_command("strangler_nginx", f"--mode={mode}", stdout=StringIO())


def test_ids_are_compared_by_their_case(make_route):
    make_route("http://127.0.0.1:9")
    feature_flags.set_rollout("payments-v2", 0, by="me", why="test")
    feature_flags.include("payments-v2", ["Ab", "default", "7"], by="me", why="test")
    out = StringIO()

    call_command("strangler_nginx", "--mode=split", stdout=out)

    assert '"~^Ab$" modern;' in out.getvalue()
    assert '"~^default$" modern;' in out.getvalue()
    assert '"7" modern;' in out.getvalue()


def test_lines_of_a_log_that_are_none_are_left_alone(make_route, notes):
    make_route("http://127.0.0.1:9")
    lines = [
        "strangler payments-api modern 200 0.012",
        "strangler payments-api modern 503 1.5",
        "strangler payments-api modern 499 1.5",
        "strangler payments-api legacy 200 0.1",
        "strangler unknown modern 200 0.1",
        "garbage",
        "strangler payments-api modern 200 x",
    ]

    assert access_log.read(lines) == 2
    assert [ok for _, _, ok in notes] == [True, False]
    assert nginx.mode_of("nothing") is None


@pytest.mark.django_db(transaction=True)
def test_a_long_answer_streams_under_asgi(serve, make_route, on):
    from asgiref.sync import async_to_sync

    size = 5_000_000

    def long(talk: Talk) -> None:
        talk.read()
        talk.say(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 100_000):
            talk.say(b"x" * 100_000)

    make_route(serve(long))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/payments/a/b",
        "raw_path": b"/api/payments/a%2Fb",
        "query_string": b"q=%2f",
        "headers": [(b"host", b"shop.example")],
        "server": ("shop.example", 80),
    }

    @async_to_sync
    async def talk() -> tuple[dict[str, Any], list[int]]:
        communicator = ApplicationCommunicator(get_asgi_application(), scope)
        await communicator.send_input({"type": "http.request", "body": b""})
        start = await communicator.receive_output(60)
        sizes = []
        while True:
            part = await communicator.receive_output(60)
            sizes.append(len(part.get("body", b"")))
            if not part.get("more_body"):
                await communicator.wait()
                return start, sizes

    start, sizes = talk()

    assert start["status"] == 200
    assert sum(sizes) == size
    assert max(sizes) <= 200_000
