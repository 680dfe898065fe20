"""The data paths through a real nginx and a real gunicorn."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from django_strangler import feature_flags
from django_strangler.facade import nginx as text
from tests.feature_flags.test_nginx import binary
from tests.services.databases import database_url
from tests.services.plugin import needed
from tests.services.ports import free_port
from tests.services_client.conftest import new_private_key
from tests.services_client.servers import Server, Talk
from tests.waiting import wait_for

from . import servers
from .servers import Reply, ask
from .test_routing import modern

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
PATH = "/api/payments/7"


class Site:
    """Client → nginx → gunicorn or service."""

    def __init__(self, folder: Path, command: str, service: Server) -> None:
        self.folder, self.command, self.service = folder, command, service
        self.stack = contextlib.ExitStack()
        self.port = free_port()
        self.process: Any = None

    def get(self, path: str = PATH, *headers: str, **options: Any) -> Reply:
        return ask(self.port, path, *headers, **options)

    def render(self, mode: Any) -> str:
        out = StringIO()
        call_command("strangler_nginx", *self._options(mode), stdout=out)
        return out.getvalue()

    def check(self) -> int:
        given = [f"--check={self.folder}/nginx.conf", *self._options(None)]
        try:
            call_command(
                "strangler_nginx", *given, stdout=StringIO(), stderr=StringIO()
            )
        except SystemExit as exit:
            return int(exit.code or 0)
        return 0

    def _options(self, mode: Any) -> list[str]:
        listen = f"--listen=127.0.0.1:{self.port}"
        legacy = f"--legacy=http://127.0.0.1:{self.gunicorn}"
        log = f"--evidence-log={self.folder}/strangler.log"
        return [listen, legacy, log, *([f"--mode={mode}"] if mode else [])]

    def reload(self, mode: Any) -> None:
        servers.write(self.folder, self.render(mode))
        subprocess.run(
            [
                self.command,
                *("-e", f"{self.folder}/error.log", "-c", f"{self.folder}/nginx.conf"),
                *("-s", "reload"),
            ],
            check=True,
        )


def rollout(percentage: Any) -> None:
    feature_flags.set_rollout("payments-v2", percentage, by="me", why="test")


StartSite = Callable[..., Site]


@pytest.fixture
def start(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_route: Any,
    serve: Any,
    make_db: Any,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StartSite]:
    """start("auth", handler, data_path=…): the whole of it, on a fresh database."""
    from django.db import router

    with needed("nginx", request) as services:
        command = binary(services._announce)
    alias = make_db("sqlite")
    monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
    monkeypatch.setattr(router, "db_for_read", lambda model, **hints: alias)
    key = new_private_key()
    with contextlib.ExitStack() as stack:

        def begin(
            mode: str, handler: Any = modern, service: Any = None, **options: Any
        ) -> Site:
            server = serve(handler)
            site = Site(tmp_path / "nginx", command, server)
            make_route(server, service=service or {}, **options)
            settings.STRANGLER = {**settings.STRANGLER, "IDENTITY": {"KEYS": [key]}}
            site.gunicorn = stack.enter_context(
                servers.gunicorn(
                    tmp_path,
                    *("--worker-class=gthread", "--threads=4"),
                    DATABASE_URL=database_url(alias),
                    STRANGLER=json.dumps(settings.STRANGLER),
                    ROUTE=json.dumps({"name": "payments-api", **options}),
                )
            )
            site.folder.mkdir()
            rendered = site.render(mode)
            site.process = stack.enter_context(
                servers.nginx(command, site.folder, rendered)
            )
            return site

        yield begin


MODES = ["accel", "auth", "split"]


def options_for(mode: str) -> dict[str, Any]:
    return {"data_path": "accel"} if mode == "accel" else {}


def said(reply: Reply) -> dict[str, Any]:
    found = json.loads(reply.body)
    assert reply.get("Strangler-Side") == found["side"]
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_request_reaches_the_side_that_the_flag_says(start, mode):
    rollout(100)
    site = start(mode, **options_for(mode))

    found = said(site.get(f"{PATH}/a%2Fb?x=%2f"))
    assert found["line"] == f"GET {PATH}/a%2Fb?x=%2f HTTP/1.1"
    posted = said(site.get(method="POST", body=b"n=1"))
    assert (posted["line"], posted["body"]) == (f"POST {PATH} HTTP/1.1", "n=1")
    assert site.check() == 0

    rollout(0)

    if mode == "split":
        assert site.check() == 3
        site.reload(mode)
        assert site.check() == 0
        wait_for(lambda: said(site.get())["side"] == "legacy")
    else:
        assert site.check() == 0
        wait_for(lambda: said(site.get())["side"] == "legacy")
    assert said(site.get(method="POST", body=b"n=1"))["body"] == "n=1"
    assert site.get("/plain/").get("Strangler-Side") is None


TWINS = [
    "Strangler-Identity: forged",
    "Strangler_Identity: forged",
    "STRANGLER-identity: forged",
    "Strangler-Fallback: payments-api",
    "Strangler_Fallback: payments-api",
    "Strangler-Original-URI: /forged",
    "Strangler-Original-Method: FORGED",
    "X-Accel-Redirect: @forged",
    "Authorization: Bearer forged",
    "Cookie: forged=1",
]


@pytest.mark.parametrize("mode", MODES)
def test_nobody_says_for_the_client_who_it_is(start, mode):
    rollout(100)
    site = start(mode, **options_for(mode))
    user = get_user_model().objects.create_user(username="u", email="u@x.com")
    cookies = site.get(f"/login/{user.pk}/").cookies

    nobody = said(site.get(PATH, *TWINS))
    known = said(site.get(PATH, *TWINS[:-1], f"Cookie: {cookies}"))

    for found in (nobody, known):
        assert found["side"] == "modern"
        assert "forged" not in json.dumps(found).lower()
        assert not [each for each in found["headers"] if each.startswith("Cookie")]
    tokens = [
        each for each in known["headers"] if each.startswith("Strangler-Identity")
    ]
    assert len(tokens) == (0 if mode == "split" else 1)
    assert not [each for each in nobody["headers"] if "Strangler-Identity" in each]


def test_forged_twins_do_not_get_through_gunicorn_alone(start):
    rollout(100)
    site = start("auth")

    found = said(ask(site.gunicorn, PATH, *TWINS[:3], *TWINS[5:]))

    assert found["side"] == "modern"
    assert "forged" not in json.dumps(found).lower()


def test_a_path_through_gunicorn_reaches_the_service_as_it_came(start):
    rollout(100)
    site = start("auth")

    for path in (f"{PATH}/a%2Fb?x=%2f", f"{PATH}/%c3%a4;v=1", f"{PATH}//x"):
        assert said(ask(site.gunicorn, path))["line"] == f"GET {path} HTTP/1.1"
    for path in (f"{PATH}/../../admin", f"{PATH}/%2e%2e/x"):
        assert ask(site.gunicorn, path).get("Strangler-Side") == "legacy"


def test_users_are_split_by_nginx_as_by_the_application(start):
    rollout("37.5")
    users = get_user_model().objects
    people = [
        users.create_user(username=f"u{n}", email=f"{n}@x.com") for n in range(40)
    ]
    ids = [str(each.pk) for each in people]
    feature_flags.include("payments-v2", [ids[0]], by="me", why="test")
    feature_flags.exclude("payments-v2", [ids[1]], by="me", why="test")
    site = start("split")
    sides = {}
    for user in people:
        cookies = site.get(f"/login/{user.pk}/").cookies
        first = site.get(PATH, f"Cookie: {cookies}")
        # The first request has no cookie of ours, so the application decides.
        cookies = f"{cookies}; {first.cookies}"
        before = len(site.service.requests)
        sides[str(user.pk)] = said(site.get(PATH, f"Cookie: {cookies}"))["side"]
        by_nginx = len(site.service.requests) - before
        assert by_nginx == (sides[str(user.pk)] == "modern")

    assert sides == {
        each: "modern" if feature_flags.is_enabled("payments-v2", each) else "legacy"
        for each in ids
    }
    assert said(site.get())["side"] == "legacy"  # Nobody in particular.


@pytest.mark.parametrize("mode", MODES)
def test_the_fallback_is_for_what_is_safe(start, mode):
    def hangs_up(talk: Talk) -> None:
        talk.read()
        talk.reset()

    rollout(100)
    site = start(mode, hangs_up, **options_for(mode))

    assert said(site.get())["side"] == "legacy"
    before = len(site.service.requests)
    posted = site.get(method="POST", body=b"n=1")

    assert posted.status == 502
    assert len(site.service.requests) == before + 1


@pytest.mark.parametrize("mode", MODES)
def test_a_service_that_hangs_is_not_waited_for_longer_than_its_timeout(start, mode):
    rollout(100)
    site = start(
        mode, lambda talk: talk.hang(), service={"TIMEOUT": 0.5}, **options_for(mode)
    )

    assert said(site.get())["side"] == "legacy"


def test_a_decision_that_fails_is_legacy(start):
    rollout(100)
    site = start("auth")
    part = (site.folder / "nginx.conf").read_text()
    servers.write(
        site.folder,
        part[part.index(text.BEGIN) : part.index(text.END)].replace(
            "/strangler/decide/payments-api/", "/api/payments/broken/"
        ),
    )
    subprocess.run(
        [site.command, "-c", f"{site.folder}/nginx.conf", "-s", "reload"], check=True
    )

    def is_legacy() -> bool:
        # Django decides once more, and its own answer is that of the service.
        return not site.get().headers or bool(site.get().get("Strangler-Side"))

    wait_for(is_legacy)
    assert site.get().status == 200


@pytest.mark.parametrize("mode", MODES)
def test_what_nginx_carried_becomes_evidence(start, mode, notes, monkeypatch):
    rollout(100)
    site = start(mode, **options_for(mode))
    for _ in range(3):
        site.get()

    log = site.folder / "strangler.log"
    wait_for(lambda: len(log.read_text().splitlines()) >= 3)
    monkeypatch.setattr("sys.stdin", StringIO(log.read_text()))
    call_command("strangler_nginx", "--read-log", stdout=StringIO())

    assert notes == [("route:payments-api", "modern", True)] * 3


def test_a_rewritten_path_keeps_its_percent_signs(start):
    rollout(100)
    site = start("split", rewrite="/v2/")

    found = said(site.get("/api/payments/a%2Fb/%C3%A4?x=%2f"))

    assert found["line"] == "GET /v2/a%2Fb/%C3%A4?x=%2f HTTP/1.1"


def test_an_upload_goes_through_nginx(start):
    rollout(100)
    site = start("auth")

    found = said(site.get(method="POST", body=b"x" * 3_000_000))

    assert len(found["body"]) == 3_000_000
