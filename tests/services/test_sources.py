"""Where a service comes from, in which order, and what happens if there is none."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import sources
from .base import Unavailable
from .leftovers import ROOT
from .postgresql import POSTGRESQL, PrivatePostgreSQL
from .services import Services


class NotInstalled(PrivatePostgreSQL):
    def prepare(self) -> None:
        raise Unavailable("initdb is not installed")


@pytest.fixture
def nowhere(monkeypatch):
    """A PostgreSQL that is not installed, does not run and must not be installed."""
    monkeypatch.delenv(POSTGRESQL.variable, raising=False)
    monkeypatch.setenv("NO_INSTALL", "1")
    monkeypatch.setenv("PATH", "/nowhere")
    return dataclasses.replace(POSTGRESQL, private=NotInstalled, usual_urls=())


@pytest.fixture
def found():
    services = Services()
    yield services
    services.close()


def fake(folder: Path, name: str, script: str) -> None:
    """A program that stands in for one that would change this machine."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_url_in_the_environment_comes_first(monkeypatch, postgresql, found) -> None:
    monkeypatch.setenv(POSTGRESQL.variable, postgresql.url)

    service = found.get(POSTGRESQL)

    assert service.url == postgresql.url
    assert service.origin == POSTGRESQL.variable


def test_a_url_that_leads_nowhere_is_not_replaced(monkeypatch, found) -> None:
    monkeypatch.setenv(POSTGRESQL.variable, "postgresql://127.0.0.1:1/postgres")

    with pytest.raises(Unavailable, match=f"{POSTGRESQL.variable} leads nowhere"):
        found.get(POSTGRESQL)


def test_what_is_installed_comes_before_what_runs(
    monkeypatch, private_postgresql, found
) -> None:
    monkeypatch.delenv(POSTGRESQL.variable, raising=False)
    both = dataclasses.replace(POSTGRESQL, usual_urls=(private_postgresql.url,))

    assert found.get(both).origin == "private instance"


def test_what_runs_on_the_standard_port_is_used(nowhere, postgresql, found) -> None:
    running = dataclasses.replace(nowhere, usual_urls=(postgresql.url,))

    assert found.get(running).origin == "port 5432"


def test_docker_compose_comes_next(
    nowhere, postgresql, found, tmp_path, monkeypatch
) -> None:
    fake(tmp_path, "docker", f'echo "$*" >> {tmp_path}/calls; : > {tmp_path}/up')
    monkeypatch.setenv("PATH", str(tmp_path))
    up = tmp_path / "up"

    def check(url: str) -> None:
        if not up.exists():
            raise Unavailable("connection refused")

    kind = dataclasses.replace(nowhere, usual_urls=(postgresql.url,), check=check)

    assert found.get(kind).origin == "Docker Compose"

    found.close()
    calls = (tmp_path / "calls").read_text()
    assert f"compose --file {ROOT}/compose.yaml up --detach --wait postgresql" in calls
    assert "rm --stop --force --volumes postgresql" in calls


def test_debian_packages_come_last_and_are_announced_first(
    nowhere, tmp_path, monkeypatch
) -> None:
    said = []
    policy = tmp_path / "policy-rc.d"
    fake(
        tmp_path,
        "apt-get",
        f'[ -s {tmp_path}/said ] && [ -x {policy} ] && echo "$*" >> {tmp_path}/calls',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sources, "POLICY", policy)
    monkeypatch.delenv("NO_INSTALL")

    def announce(text: str) -> None:
        said.append(text)
        (tmp_path / "said").write_text(text)

    sources.install(nowhere, announce)

    assert "installing the Debian package postgresql" in said[0]
    assert (tmp_path / "calls").read_text().splitlines() == [
        "update",
        "install --yes --no-install-recommends postgresql",
    ]
    assert not policy.exists()


def test_what_cannot_be_had_says_all_that_was_tried(nowhere, found) -> None:
    with pytest.raises(Unavailable) as error:
        found.get(nowhere)

    for reason in (
        "STRANGLER_TEST_POSTGRESQL_URL is not set",
        "initdb is not installed",
        "port 5432 lets nobody in",
        "docker is not installed",
        "NO_INSTALL=1",
    ):
        assert reason in str(error.value)


TESTS = """
def test_with_a_database(postgresql): pass
def test_with_the_same(postgresql): pass
def test_with_an_alias(postgresql_db): pass
def test_without(): pass
"""


def run_tests(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, in which PostgreSQL cannot be had."""
    (folder / "test_them.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir=."]
    return subprocess.run(
        [
            *(*command, "-p", "tests.services.plugin", "-p", "tests.services.fixtures"),
            *(*arguments, str(folder)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            # A plugin of the command line is imported before the paths of pyproject.
            "PYTHONPATH": os.pathsep.join(sys.path),
            POSTGRESQL.variable: "postgresql://127.0.0.1:1/postgres",
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_missing_service_skips_only_its_tests_and_says_so(
    processes: str, tmp_path
) -> None:
    done = run_tests(tmp_path, "--numprocesses", processes)

    assert done.returncode == 0, done.stdout
    assert re.search(r"1 passed, 3 skipped", done.stdout)
    assert "services that cannot be had" in done.stdout
    assert f"3 tests skipped: PostgreSQL cannot be had: {POSTGRESQL.variable}" in (
        done.stdout
    )


def test_a_missing_service_fails_its_tests_where_services_are_required(
    tmp_path,
) -> None:
    done = run_tests(tmp_path, "--require-services")

    assert done.returncode == 1, done.stdout
    assert re.search(r"1 passed,.* 3 errors", done.stdout)
    assert "3 tests failed: PostgreSQL cannot be had" in done.stdout
