"""Processes and the processes they started, as Linux shows them in /proc."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    uid: int
    gid: int


def account(*names: str) -> Account | None:
    """The first of these users that exists; None for an unprivileged caller."""
    if os.geteuid() != 0:
        return None
    for name in names:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    return None


def spawn(
    command: Sequence[str],
    *,
    account: Account | None,
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
) -> subprocess.Popen[bytes]:
    """Start a server: no terminal, no inherited environment, not our user if root."""
    with output.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            # Ctrl-C in the terminal is for the tests, which stop their servers.
            start_new_session=True,
            **identity(account),
        )


def run(
    command: Sequence[str],
    *,
    account: Account | None,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = 180,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=timeout,
        **identity(account),
    )


def identity(account: Account | None) -> dict:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def started(pid: int) -> str | None:
    """When the process started, in ticks: tells it from a later one of that number."""
    fields = _stat(pid)
    # A zombie is dead, only not yet waited for.
    return None if fields is None or fields[0] == "Z" else fields[19]


def tree(pid: int) -> list[int]:
    """The process and all its descendants, ancestors first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def freeze(pid: int) -> list[int]:
    """Stop the whole tree, also what it was just about to start."""
    frozen: list[int] = []
    while new := [child for child in tree(pid) if child not in frozen]:
        for child in new:
            _signal(child, signal.SIGSTOP)
        frozen += new
    return frozen


def thaw(pid: int) -> None:
    for child in tree(pid):
        _signal(child, signal.SIGCONT)


def kill_tree(pid: int, patience: float = 30.0) -> None:
    """Kill all of them; they are dead when this returns."""
    # Frozen first: else a child may start another one while the list is worked off.
    dying = {child: started(child) for child in freeze(pid)}
    for child in dying:
        _signal(child, signal.SIGKILL)
    # On a busy machine they die later, and PostgreSQL does not start beside a child
    # of the one before it.
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and any(
        start is not None and started(child) == start for child, start in dying.items()
    ):
        time.sleep(0.005)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str] | None:
    """The fields after the name, which may itself hold blanks and brackets."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
