"""
What a run of the tests leaves on the machine, and how that goes away again.

A run keeps its throw-away folders and the processes it started in
`<temp>/strangler-test-servers-<uid>/<pid>.<start of pid>.<random>`. The name says who
owns it, so it is never there without an owner. Three remove it: the run itself when it
ends, a watchdog when the run dies, and the next run when the watchdog was killed too.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from .processes import kill_tree, started

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = "processes"


class Run:
    """The throw-away folder of one run of the tests."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        prefix = f"{self.owner}.{started(self.owner)}."
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base()))
        # Other users only pass through: servers run under accounts of their own.
        self.folder.chmod(0o711)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
        )
        atexit.register(self.close)

    def subfolder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def remember(self, pid: int) -> None:
        """Note a process, so that it does not outlive this run."""
        with (self.folder / PROCESSES).open("a") as file:
            file.write(f"{pid} {started(pid)}\n")

    def close(self) -> None:
        # A forked child inherits the exit handler, but not the ownership.
        if os.getpid() != self.owner:
            return
        atexit.unregister(self.close)
        remove(self.folder)
        self._watchdog.communicate()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """For what several runs must not do at once, such as installing packages."""
    path = _temp() / f"strangler-test-servers-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def mark() -> str:
    """The start of a name on a server that other runs and machines use as well."""
    return f"strangler_{_machine()}_{os.getpid()}_{started(os.getpid())}"


def orphaned(name: str) -> bool:
    """Whether such a name belongs to a run on this machine that is dead by now."""
    match = re.match(r"strangler_([0-9a-f]{8})_(\d+)_(\d+)_", name)
    if match is None or match[1] != _machine():
        return False
    return not alive(f"{match[2]}.{match[3]}")


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return f"{zlib.crc32((platform.node() + boot).encode()):08x}"


def base() -> Path:
    """The folder of all runs of this user."""
    folder = _temp() / f"strangler-test-servers-{os.geteuid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user. Remove it.")
    folder.chmod(0o711)
    return folder


def sweep() -> list[Path]:
    """Remove what runs that are dead by now left behind."""
    dead = [folder for folder in base().iterdir() if not alive(folder.name)]
    for folder in dead:
        remove(folder)
    return dead


def alive(owner: str) -> bool:
    """Whether the process "pid.start" still exists; more may follow."""
    pid, start, *_ = [*owner.split("."), ""]
    return pid.isdecimal() and started(int(pid)) == start


def remove(folder: Path) -> None:
    """Kill what was started there and remove the folder."""
    with contextlib.suppress(OSError):
        for line in (folder / PROCESSES).read_text().splitlines():
            pid, _, start = line.partition(" ")
            if alive(f"{pid}.{start}"):
                kill_tree(int(pid))
    for _ in range(20):
        _release_shared_memory(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.05)  # A dying process may still write.


def _release_shared_memory(folder: Path) -> None:
    """A killed PostgreSQL leaves a few bytes of System V memory behind."""
    for lock in folder.glob("*/data/postmaster.pid"):
        try:
            fields = lock.read_text().splitlines()[6:7]
        except OSError:
            continue  # Another run removes it just now.
        if fields and shutil.which("ipcrm"):
            segment = fields[0].split()[-1]
            subprocess.run(["ipcrm", "-m", segment], capture_output=True)


def _temp() -> Path:
    """The temp dir, unless root's servers, as other users, could not get into it."""
    chosen = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0:
        return chosen
    open_to_all = all(
        folder.stat().st_mode & stat.S_IXOTH for folder in (chosen, *chosen.parents)
    )
    return chosen if open_to_all else Path("/tmp")


def watch(folder: Path) -> None:
    """Wait until the owner of the other end of our stdin dies, then clean up."""
    sys.stdin.read()
    remove(folder)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
