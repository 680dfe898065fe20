"""The relay and the mover: commands of manage.py that may be stopped and killed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE = 5.0  # Seconds; drain_outbox promises to end within two.


class Worker:
    """A command that goes on in a process of its own."""

    def __init__(self, log: Path, *command: str) -> None:
        self._log, self._command = log, command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.kills = 0

    @property
    def pid(self) -> int | None:
        """Its process, while there is one."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start it; harmless if it runs."""
        with self._lock:
            if self.pid is not None:
                return
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "demo.child", *self._command],
                    env={**os.environ, "DEMO_BACKEND": "demo.bug.NewPathBackend"},
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C in the terminal is for the demo, which stops its relay.
                    start_new_session=True,
                )

    def stop(self) -> None:
        """SIGTERM: it finishes what is under way and gives its lanes back."""
        with self._lock:
            self._end(kill=False)

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        with self._lock:
            self.kills += self.pid is not None
            self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()
