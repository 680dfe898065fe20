"""Where a service comes from when it is not a private instance."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .base import Kind, Service, Unavailable
from .leftovers import ROOT, one_at_a_time

COMPOSE = ("docker", "compose", "--file", str(ROOT / "compose.yaml"))
POLICY = Path("/usr/sbin/policy-rc.d")
OURS = "# Written by the tests of django-strangler; may be removed."


def from_environment(kind: Kind) -> Service | None:
    """The server whose URL is in the environment; it is that one or none."""
    url = os.environ.get(kind.variable)
    if not url:
        return None
    try:
        kind.check(url)
    except Unavailable as error:
        raise Unavailable(f"{kind.variable} leads nowhere: {error}") from error
    return kind.shared(url=url, origin=kind.variable)


def from_standard_port(kind: Kind) -> Service:
    reasons = []
    for url in kind.usual_urls:
        try:
            kind.check(url)
        except Unavailable as error:
            reasons.append(f"{url}: {_first_line(error)}")
        else:
            return kind.shared(url=url, origin=f"port {kind.port}")
    raise Unavailable(f"port {kind.port} lets nobody in ({'; '.join(reasons)})")


def from_compose(kind: Kind) -> Service:
    """A container of compose.yaml, to be removed by `compose_down`."""
    if shutil.which("docker") is None:
        raise Unavailable("docker is not installed")
    _compose("version")
    try:
        _compose("up", "--detach", "--wait", kind.key)
        service = from_standard_port(kind)
    except Unavailable:
        compose_down(kind)
        raise
    service.origin = "Docker Compose"
    service.control = (*COMPOSE, "exec", "--no-TTY", kind.key)
    return service


def compose_down(kind: Kind) -> None:
    with contextlib.suppress(Unavailable):
        _compose("rm", "--stop", "--force", "--volumes", kind.key)


def _compose(*arguments: str) -> None:
    command = [*COMPOSE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(
            f"docker compose {arguments[0]} failed: {_last_line(done.stderr)}"
        )


def install(kind: Kind, announce: Callable[[str], None]) -> None:
    """Install Debian's package, saying so first."""
    install_packages(kind.name, [kind.package], announce)


def install_packages(
    name: str, packages: Sequence[str], announce: Callable[[str], None]
) -> None:
    if os.environ.get("NO_INSTALL") == "1":
        raise Unavailable("NO_INSTALL=1 forbids to install it")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable("only root on Debian could install it")
    noun = "package" if len(packages) == 1 else "packages"
    announce(
        f"{name} is nowhere to be found: installing the Debian {noun} "
        f"{' '.join(packages)} on this machine. NO_INSTALL=1 forbids it."
    )
    with one_at_a_time(), services_not_started():
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *packages)


@contextlib.contextmanager
def services_not_started() -> Iterator[None]:
    """Keep packages from starting what they install, unless there is a policy."""
    if POLICY.exists() and OURS not in POLICY.read_text():
        yield
        return
    POLICY.write_text(f"#!/bin/sh\n{OURS}\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def _apt_get(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        raise Unavailable(f"apt-get {arguments[0]} failed: {_last_line(done.stderr)}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
