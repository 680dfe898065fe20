"""
What the app adds to the start of every process: to django.setup().

    python -m tests.benchmarks.bench_setup [--rounds 15] [--bar 100]

New processes take turns: a project with django.contrib.auth and its like, and the same
with django_strangler. The quickest of each counts: what else the machine does can only
make one slower. Ends with 1 if it is over the bar.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

BARE = "auth", "contenttypes", "sessions", "messages", "staticfiles", "admin"
PROGRAM = """
import sys, time
from django.conf import settings
settings.configure(
    INSTALLED_APPS=sys.argv[1:],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
started = time.perf_counter()
django.setup()
print(time.perf_counter() - started)
"""


def measure(*apps: str) -> float:
    """Milliseconds that django.setup() takes in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *apps],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bar", type=float, default=100, help="milliseconds")
    options = parser.parse_args()
    bare = [f"django.contrib.{name}" for name in BARE]
    without, with_it = [], []
    for _ in range(options.rounds):
        without.append(measure(*bare))
        with_it.append(measure(*bare, "django_strangler"))
    before, after = min(without), min(with_it)
    print(f"django.setup() without the app: {before:6.1f} ms")
    print(f"               with the app:    {after:6.1f} ms")
    print(f"               the app adds:    {after - before:6.1f} ms", flush=True)
    return 0 if after - before <= options.bar else 1


if __name__ == "__main__":
    raise SystemExit(main())
