"""The payments API, served by the monolith and by the service, on one database."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from users.models import KycCheck, User

from tests.end_to_end.processes import process
from tests.services.databases import database_url
from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.waiting import wait_for


@dataclass
class Api:
    """One server of it."""

    url: str
    alias: str
    stop: Callable[[], None] = lambda: None

    def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            self.url + path,
            None if method in ("GET", "DELETE") else data,
            {
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, _json(error.read())


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


@pytest.fixture
def database(make_db: Callable[..., str]) -> str:
    return make_db("postgresql")


@pytest.fixture
def people(database: str) -> dict[str, str]:
    users = User.objects.using(database)
    made = {
        name: users.create(
            username=name, email=f"{name}@example.com", is_active=name != "gone"
        )
        for name in ("user", "verified", "gone")
    }
    KycCheck.objects.using(database).create(
        user_id=made["verified"].pk, status=KycCheck.Status.PASSED
    )
    return {name: str(user.pk) for name, user in made.items()}


def is_up(url: str) -> bool:
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(f"{url}/payments/?user=0", timeout=5).close()
    return True


StartMonolith = Callable[..., Api]


@pytest.fixture
def start_monolith(database: str, tmp_path: Path) -> Iterator[StartMonolith]:
    with contextlib.ExitStack() as stack:

        def start(**environment: str) -> Api:
            port = free_port()
            options = ["--no-control-socket", "--threads=4", f"--bind=127.0.0.1:{port}"]
            stack.enter_context(
                process(
                    [sys.executable, "-m", "gunicorn", "monolith.wsgi", *options],
                    tmp_path / "monolith.log",
                    PYTHONPATH=f"{ROOT}:{ROOT}/testproject",
                    DJANGO_SETTINGS_MODULE="monolith.settings",
                    DATABASE_URL=database_url(database),
                    EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
                    DEBUG="0",
                    **environment,
                )
            )
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: is_up(url), 90, ignoring=(OSError,))
            return Api(url, database)

        yield start


@pytest.fixture
def monolith(start_monolith: StartMonolith) -> Api:
    return start_monolith()


StartService = Callable[..., Api]


@pytest.fixture
def start_service(
    database: str, payments_service: Path, tmp_path: Path
) -> Iterator[StartService]:
    with contextlib.ExitStack() as stack:

        def start(**environment: str) -> Api:
            port = free_port()
            log = tmp_path / "service.log"
            running = stack.enter_context(
                process(
                    ["node", "src/main.js"],
                    log,
                    folder=payments_service,
                    DATABASE_URL=database_url(database),
                    PORT=str(port),
                    **environment,
                )
            )
            url = f"http://127.0.0.1:{port}"
            wait_for(
                lambda: running.poll() is not None or is_up(url),
                90,
                ignoring=(OSError,),
            )
            assert running.poll() is None, log.read_text()

            def stop() -> None:
                # A process that was only told to die still takes what is sent to it,
                # and then nobody can say whether it arrived.
                running.kill()
                running.wait()

            return Api(url, database, stop)

        yield start


def filled(value: Any, people: dict[str, str], answers: list[Any]) -> Any:
    """The step with users and earlier answers in their places."""
    if isinstance(value, dict):
        return {name: filled(each, people, answers) for name, each in value.items()}
    if not isinstance(value, str):
        return value

    def fill(found: re.Match[str]) -> str:
        name, _, field = found[1].partition(".")
        return people[name] if not field else str(answers[int(name)][field])

    return re.sub(r"\{([\w.]+)\}", fill, value)


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    from tests.services_client.servers import serving

    with contextlib.ExitStack() as stack:
        yield lambda handler: stack.enter_context(serving(handler))
