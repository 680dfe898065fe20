"""
What the app adds to the start of every process: to django.setup().

    python -m tests.benchmarks.bench_setup [--rounds 15] [--bar 100]

New processes take turns: a project with django.contrib.auth and its like, and the same
with django_strangler. The quickest of each counts: what else the machine does can only
make one slower. The median is shown beside it. Ends with 1 if it is over the bar.

All of it is compiled before, as pip leaves it: without that, a checkout where Python
writes no bytecode would be measured at compiling the app, and at nothing of Django.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

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


def measure(bytecode: str, *apps: str) -> float:
    """Milliseconds that django.setup() takes in a new process."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONPYCACHEPREFIX": bytecode,
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *apps],
        env=environment,
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
    with tempfile.TemporaryDirectory(prefix="strangler-bytecode-") as bytecode:
        measure(bytecode, *bare, "django_strangler")  # Compiles; not counted.
        for _ in range(options.rounds):
            without.append(measure(bytecode, *bare))
            with_it.append(measure(bytecode, *bare, "django_strangler"))
    print("django.setup()          quickest    median, in ms")
    for name, times in (("without the app", without), ("with the app", with_it)):
        print(f"{name:22} {min(times):9.1f} {statistics.median(times):9.1f}")
    added = min(with_it) - min(without)
    middle = statistics.median(with_it) - statistics.median(without)
    print(f"{'the app adds':22} {added:9.1f} {middle:9.1f}", flush=True)
    return 0 if added <= options.bar else 1


if __name__ == "__main__":
    raise SystemExit(main())
