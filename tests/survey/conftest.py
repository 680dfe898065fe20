"""Projects to survey, and ratchets that are nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_strangler.survey import Survey, survey

from . import shop


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every kind of tie; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder)
    return folder


@pytest.fixture(scope="session")
def surveyed(django_db_blocker) -> Survey:
    """The test project, surveyed once."""
    with django_db_blocker.unblock():
        return survey()


@pytest.fixture
def folder(tmp_path: Path, settings) -> Path:
    """A folder for a ratchet, instead of the test project's."""
    settings.BASE_DIR = tmp_path
    return tmp_path
