"""Node.js, and the services in it with what they need."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import sources
from .base import Unavailable
from .leftovers import ROOT, one_at_a_time

OLDEST = 20


def prepare(announce: Callable[[str], None], name: str) -> Path:
    """That folder of the repository, its packages installed; or Unavailable."""
    folder = ROOT / name
    if shutil.which("node") is None or shutil.which("npm") is None:
        try:
            sources.install_packages("Node.js", ["nodejs", "npm"], announce)
        except Unavailable as error:
            raise Unavailable(f"node or npm is not installed; {error}") from error
    version = _run(folder, "node", "--version").strip()
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < OLDEST:
        raise Unavailable(f"node is {version}, and it takes v{OLDEST} or newer")
    installed = folder / "node_modules" / ".package-lock.json"
    lock = folder / "package-lock.json"
    with one_at_a_time():
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            # Nothing of a package is run to install it.
            _run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"{' '.join(command)} failed: {said}")
    return done.stdout
