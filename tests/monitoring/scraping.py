"""Reading metrics as Prometheus does."""

from __future__ import annotations

import urllib.request


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as it:
        text = it.read().decode()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {
        name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)
    }
