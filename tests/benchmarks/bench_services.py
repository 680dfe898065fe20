"""
What a call by `service()` adds to urllib3 alone, and what its parts cost, in one run.

    python -m tests.benchmarks.bench_services
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import Any

CALLS = 3_000


def set_up(folder: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["DATABASE_PATH"] = os.path.join(folder, "bench.sqlite3")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def timed(call: Callable[[], object], calls: int = CALLS) -> float:
    """The median, in microseconds."""
    for _ in range(calls // 10):
        call()
    taken = []
    for _ in range(calls):
        start = perf_counter_ns()
        call()
        taken.append(perf_counter_ns() - start)
    return median(taken) / 1000


def measure(url: str) -> list[tuple[str, float]]:
    import urllib3
    from django.contrib.auth import get_user_model
    from django.test import override_settings

    from django_strangler.services import breaker, identity, service
    from tests.services_client.conftest import new_private_key

    given: dict[str, Any] = {
        "SERVICES": {"echo": {"URL": url}},
        "IDENTITY": {"KEYS": [new_private_key()], "AUDIENCE": "echo"},
    }
    pool = urllib3.PoolManager()
    user = get_user_model()(pk=7)

    def guarded() -> None:
        with breaker("bank"):
            pass

    with override_settings(STRANGLER=given):
        token = identity.issue_identity(user, "echo")
        keys = identity.parse_jwk_set(identity.jwk_set())
        options = {"audience": "echo", "issuer": "monolith"}
        return [
            ("urllib3 alone", timed(lambda: pool.request("GET", f"{url}/").data)),
            ("service().get()", timed(lambda: service("echo").get("/"))),
            (
                "service().get(user=)",
                timed(lambda: service("echo").get("/", user=user)),
            ),
            ("breaker() alone", timed(guarded)),
            ("issue an identity", timed(lambda: identity.issue_identity(user, "echo"))),
            ("verify it", timed(lambda: identity.verify(token, keys, **options))),
        ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        set_up(folder)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.echo"],
            stdout=subprocess.PIPE,
            text=True,
        ) as echo:
            assert echo.stdout is not None
            try:
                results = dict(measure(echo.stdout.readline().strip()))
            finally:
                echo.terminate()
    for what, microseconds in results.items():
        print(f"{what:24}{microseconds:8.1f} µs")
    added = results["service().get()"] - results["urllib3 alone"]
    print(f"A call adds {added:.0f} µs to urllib3's.")


if __name__ == "__main__":
    main()
