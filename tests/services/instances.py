"""A private server of the tests: it can be stopped, killed, paused and started."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.waiting import TimedOut, wait_for

from . import processes
from .base import Service, Unavailable
from .leftovers import Run
from .ports import free_port

FOLDERS = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)


class NotStarted(Unavailable):
    """A private server did not come up; the end of its log is in the text."""


class Instance(Service):
    """One private server, its port and its data; the data outlive a stop or a kill."""

    key: ClassVar[str]
    accounts: ClassVar[tuple[str, ...]]  # Whom it runs as when we are root.
    patience: ClassVar[float] = 120.0  # Seconds a start or a stop may take.

    def __init__(self, run: Run, *arguments: str) -> None:
        self.run = run
        self.arguments = arguments  # More of them for the server's command line.
        self.account = processes.account(*self.accounts)
        self.password = secrets.token_hex(8)
        self.folder = run.subfolder(self.key)
        if self.account is not None:
            os.chown(self.folder, self.account.uid, self.account.gid)
        self.output = self.folder / "output"
        self.listening = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.prepare()
        super().__init__(url=self.address(), origin="private instance")

    @abstractmethod
    def address(self) -> str:
        """The URL of the server on its port."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the data directory and the configuration."""

    @abstractmethod
    def command(self) -> Sequence[str]: ...

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client is let in."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "PATH": os.pathsep.join(FOLDERS),
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
        }

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start, or resume, and wait until it answers. Harmless when it does."""
        if self.running:
            self.resume()
        else:
            self.process = self.spawn(self.command())
        try:
            wait_for(
                lambda: not self.running or self.answers(),
                self.patience,
                message=f"{self!r} answers",
                interval=0.05,
            )
        except TimedOut as error:
            raise NotStarted(f"{error}\n{self.log()}") from error
        if not self.running:
            raise NotStarted(f"{self!r} ended while it started:\n{self.log()}")

    def stop(self) -> None:
        """Shut down in good order."""
        if not self.running:
            return
        assert self.process is not None
        self.resume()
        self.process.send_signal(self.polite)
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.kill()

    polite: ClassVar[signal.Signals] = signal.SIGTERM

    def kill(self) -> None:
        """SIGKILL to all of its processes at once; a paused one dies as well."""
        if self.running:
            assert self.process is not None
            processes.kill_tree(self.process.pid)
            self.process.wait()

    def pause(self) -> None:
        """SIGSTOP to all of its processes: connections stay, nobody answers."""
        assert self.running, f"{self!r} does not run"
        assert self.process is not None
        processes.freeze(self.process.pid)

    def resume(self) -> None:
        if self.running:
            assert self.process is not None
            processes.thaw(self.process.pid)

    def close(self) -> None:
        """The end: nothing is kept."""
        self.kill()

    def log(self) -> str:
        """The end of what it wrote."""
        if not self.output.exists():
            return ""
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-20:])

    def spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        process = processes.spawn(
            command,
            account=self.account,
            folder=self.folder,
            environment=self.environment,
            output=self.output,
        )
        self.run.remember(process.pid)
        return process

    def execute(self, *command: str, timeout: float = 180) -> str:
        """Run a command beside the server, as its user, and return what it says."""
        done = processes.run(
            command,
            account=self.account,
            folder=self.folder,
            environment=self.environment,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise CommandFailed(
                f"{' '.join(command)} ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def write(self, name: str, text: str) -> Path:
        """A file in the folder that only the server's user can read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)
        return path


class CommandFailed(Unavailable):
    """A command of a server, such as rabbitmqctl, ended with an error."""


def has_program(name: str) -> bool:
    try:
        program(name)
    except Unavailable:
        return False
    return True


def program(name: str, *folders: str) -> str:
    """Where an installed program is, looking in its own folders first."""
    path = os.pathsep.join((*folders, os.environ.get("PATH", ""), *FOLDERS))
    found = shutil.which(name, path=path)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found
