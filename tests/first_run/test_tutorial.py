"""The tutorial's commands, in order, in an empty folder: they do what the pages say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import django_strangler
from tests.services.vhosts import Vhosts

from .session import Session, matches

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    (ROOT / "docs" / "tutorial").glob("*.md"),
    key=lambda path: int(path.name.partition("-")[0]),
)
WITHOUT_SERVER, WITH_RABBITMQ, OVER_HTTP = PAGES[:3], PAGES[3:5], PAGES[5:]


# Dozens of commands each, some of which wait for something.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("tutorial")
    # The package that these tests are about, whatever else is installed.
    session = Session(
        folder, {"PYTHONPATH": str(Path(django_strangler.__file__).parents[1])}
    )
    yield session
    session.close()


@pytest.fixture(scope="module")
def a_hundredth_moved(session: Session) -> Session:
    """Somebody who has come to the end of the third page."""
    for page in WITHOUT_SERVER:
        session.follow(page)
    return session


def test_from_the_first_event_to_one_percent(a_hundredth_moved):
    assert (a_hundredth_moved.folder / "manage.py").exists()


@pytest.fixture(scope="module")
def all_moved(a_hundredth_moved: Session, vhosts: Vhosts) -> Iterator[Session]:
    """Somebody who has come to the end of the fifth page."""
    with vhosts.fresh() as vhost:
        if vhost.prefix:
            pytest.skip("the tutorial's queues need a vhost of their own")
        a_hundredth_moved.environment = {
            **a_hundredth_moved.environment,
            "BROKER_URL": vhost.url,
        }
        for page in WITH_RABBITMQ:
            a_hundredth_moved.follow(page)
        yield a_hundredth_moved


def test_from_a_service_of_its_own_to_a_hundred_percent(all_moved):
    shop = all_moved.folder
    assert (shop / "payments").is_dir()
    assert not (shop / "notifications").exists()  # They have moved out.
    assert (shop.parent / "mailer" / "manage.py").exists()
    # What the pages left running, the service among it, runs.
    terminals = all_moved.terminals.values()
    assert {each.process.poll() for each in terminals} == {None}


def test_from_a_route_to_what_retires(all_moved):
    for page in OVER_HTTP:
        all_moved.follow(page)


@pytest.mark.parametrize(
    ("printed", "expected", "is_it"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\nb\n", "a\n", False),
        ("", "", True),
        ("a\n", "", False),
        ("a\nb\nc\n", "…\nc\n", True),
        ("c\n", "…\nc\n", True),
        ("a b c\n", "a … c\n", True),
        ("a b d\n", "a … c\n", False),
        ("a\nb\n", "…\n", True),
    ],
)
def test_an_ellipsis_stands_for_anything(printed, expected, is_it):
    assert matches(printed, expected) is is_it
