"""History: what Git knows of couplings. Optional: without Git there is none."""

from __future__ import annotations

import subprocess
from pathlib import Path


def trend(ratchet: Path) -> list[tuple[str, int]]:
    """How many couplings the ratchet had, by day, the oldest first."""
    found: dict[str, int] = {}
    total = 0
    log = _git(
        ratchet, "log", "--reverse", "--format=@%cs", "--numstat", "--", ratchet.name
    )
    day = ""
    for line in log.splitlines():
        if line.startswith("@"):
            day = line[1:]
        elif (words := line.split("\t"))[0].isdigit():
            total += int(words[0]) - int(words[1])
            found[day] = max(total - 2, 0)  # Without its first and last line.
    return list(found.items())


def _git(beside: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=beside.parent,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
