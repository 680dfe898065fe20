"""Copies of safe requests: compared, and never in anybody's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_strangler import experiments
from django_strangler.experiments import counts, shadowing
from django_strangler.experiments.background import background
from django_strangler.facade import shadows
from django_strangler.testing import override_flag
from tests.experiments.conftest import nothing_ran_yet  # noqa: F401
from tests.services_client.servers import Talk

from .test_routing import modern

pytestmark = pytest.mark.django_db
PATH = "/api/payments/7"


@pytest.fixture(autouse=True)
def shadowed() -> Iterator[None]:
    shadows.writers.clear()
    shadowing._known.clear()
    with override_flag("payments-shadow"):
        yield
    shadows.writers.clear()


@pytest.fixture
def compared(django_capture_on_commit_callbacks: Any) -> Any:
    """compared(call): what became of the copies that the call has made."""

    def compared(call: Any) -> tuple[Any, dict[str, float]]:
        with django_capture_on_commit_callbacks(execute=True):
            answer = call()
        background.wait()
        found = counts.candidates.values().items()
        return answer, {outcome: n for (*_, outcome), n in found}

    return compared


def same(talk: Talk) -> None:
    """The service: answers as legacy does, but for one field."""
    while request := talk.read():
        path = request.line.split()[1]
        talk.answer(
            b'{"side": "legacy", "method": "GET", "path": "%s", "body": "", "size": 0}'
            % path.encode(),
            "200 OK",
            "Content-Type: application/json",
        )


def test_legacy_answers_and_a_copy_is_compared(serve, make_route, client, compared):
    server = serve(same)
    make_route(server, shadow="payments-shadow")

    answer, outcomes = compared(lambda: client.get(f"{PATH}?x=1"))

    assert (answer["Strangler-Side"], answer.json()["side"]) == ("legacy", "legacy")
    (copy,) = server.requests
    assert copy.line == f"GET {PATH}?x=1 HTTP/1.1"
    assert copy.get("Strangler-Shadow") == "1"
    assert outcomes == {"mismatch": 1}  # The service says the path with its query.


def test_two_that_agree_match(serve, make_route, client, compared):
    make_route(serve(same), shadow="payments-shadow")

    _, outcomes = compared(lambda: client.get(PATH))

    assert outcomes == {"match": 1}


def test_a_comparison_that_raises_stays_out_of_sight(serve, make_route, client):
    make_route(serve(modern), shadow="payments-shadow")

    # It is the comparison that fails, which the facade keeps from the client.
    with pytest.raises(experiments.MismatchFound), experiments.experiments_raise():
        assert client.get(PATH).json()["side"] == "legacy"


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_what_is_not_safe_is_never_copied(serve, make_route, client, compared, method):
    server = serve(modern)
    make_route(server, shadow="payments-shadow")

    _, outcomes = compared(lambda: getattr(client, method)(PATH))

    assert (server.requests, outcomes) == ([], {})


def test_nothing_is_copied_while_the_flag_is_off(serve, make_route, client, compared):
    server = serve(modern)
    make_route(server, shadow="payments-shadow")

    with override_flag("payments-shadow", False):
        _, outcomes = compared(lambda: client.get(PATH))

    assert (server.requests, outcomes) == ([], {})


def test_a_view_that_was_seen_to_write_is_not_copied_any_more(
    serve, make_route, client, compared
):
    server = serve(modern)
    make_route(server, "/writes-now-and-then/", shadow="payments-shadow")

    compared(lambda: client.get("/writes-now-and-then/?write=1"))
    _, outcomes = compared(lambda: client.get("/writes-now-and-then/"))

    assert (server.requests, outcomes) == ([], {})


@pytest.mark.parametrize("service", ["down", "broken"])
def test_nobody_notices_a_service_that_fails(
    serve, make_route, client, compared, service
):
    server = serve(lambda talk: talk.reset()) if service == "broken" else None
    make_route(server or "http://127.0.0.1:9", shadow="payments-shadow")

    answer, outcomes = compared(lambda: client.get(PATH))

    assert answer.json()["side"] == "legacy"
    assert outcomes == {"mismatch": 1}


def test_nobody_notices_a_comparison_that_cannot_be_found(
    serve, make_route, client, settings
):
    server = serve(modern)
    make_route(server, shadow="payments-shadow")
    settings.STRANGLER = {
        **settings.STRANGLER,
        "FACADE": {"SHADOW": "tests.facade.no_such_thing"},
    }

    assert client.get(PATH).json()["side"] == "legacy"
    assert server.requests == []


def test_without_the_experiments_app_nothing_is_copied(
    serve, make_route, client, settings
):
    server = serve(modern)
    make_route(server, shadow="payments-shadow")
    settings.INSTALLED_APPS = [
        each for each in settings.INSTALLED_APPS if "experiments" not in each
    ]

    assert client.get(PATH).json()["side"] == "legacy"
    assert server.requests == []
