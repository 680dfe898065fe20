"""
What a check of a flag costs, beside django-waffle, in one run.

    python -m tests.benchmarks.bench_flags

Each number is the median over single calls, each with a subject of its own: nothing is
remembered from one to the next. Waffle gets a user and a request, as it wants them, and
the process-local cache that suits it best.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from statistics import median
from time import perf_counter_ns
from typing import Any

CALLS = 20_000


def set_up(folder: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["DATABASE_PATH"] = os.path.join(folder, "bench.sqlite3")
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "waffle"]
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    }
    django.setup()
    call_command("migrate", verbosity=0)


def timed(call: Callable[[Any], object], subjects: Iterable[Any]) -> float:
    """The median, in microseconds."""
    subjects = list(subjects)
    for subject in subjects[:1000]:
        call(subject)
    taken = []
    for subject in subjects:
        start = perf_counter_ns()
        call(subject)
        taken.append(perf_counter_ns() - start)
    return median(taken) / 1000


def ids(length: int) -> list[str]:
    return [str(number).rjust(length, "u") for number in range(CALLS)]


def measure() -> list[tuple[str, float]]:
    from django.contrib.auth import get_user_model
    from django.test import RequestFactory
    from waffle import flag_is_active
    from waffle.models import get_waffle_flag_model

    from django_strangler import feature_flags
    from django_strangler.feature_flags import evaluate, is_enabled

    name = "notifications-v2"
    feature_flags.set_rollout(name, 50)
    feature_flags.set_rollout("on", 100)
    feature_flags.set_rollout("off", 0)
    feature_flags.set_rollout("switched-off", 50)
    feature_flags.disable("switched-off")
    # "<salt>:<id>" of 20 bytes, and an id of 20 bytes behind the same salt.
    within = 20 - len(name) - 1
    users = [get_user_model()(pk=number) for number in range(CALLS)]
    results = [
        (
            "is_enabled, 50 %, 20 bytes in all",
            timed(_check(is_enabled, name), ids(within)),
        ),
        ("is_enabled, 50 %, id of 20 bytes", timed(_check(is_enabled, name), ids(20))),
        ("evaluate,   50 %, id of 20 bytes", timed(_check(evaluate, name), ids(20))),
        ("is_enabled, 50 %, user instance", timed(_check(is_enabled, name), users)),
        ("is_enabled, 100 %", timed(_check(is_enabled, "on"), ids(20))),
        ("evaluate,   100 %", timed(_check(evaluate, "on"), ids(20))),
        ("is_enabled, 0 %", timed(_check(is_enabled, "off"), ids(20))),
        (
            "is_enabled, switched off",
            timed(_check(is_enabled, "switched-off"), ids(20)),
        ),
    ]
    waffle = get_waffle_flag_model()
    waffle.objects.create(name=name, percent=50)
    waffle.objects.create(name="on", everyone=True)
    requests = []
    for user in users:
        request = RequestFactory().get("/")
        request.user = user
        requests.append(request)

    def ask(flag: str) -> Callable[[Any], object]:
        return lambda request: flag_is_active(request, flag)

    return [
        *results,
        ("waffle,     50 %", timed(ask(name), requests)),
        ("waffle,     everyone", timed(ask("on"), requests)),
    ]


def _check(function: Callable[..., object], name: str) -> Callable[[Any], object]:
    return lambda subject: function(name, subject)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        set_up(folder)
        results = dict(measure())
    for what, microseconds in results.items():
        print(f"{what:36}{microseconds:8.2f} µs")
    ours = results["is_enabled, 50 %, user instance"]
    on = results["is_enabled, 100 %"]
    rollout = results["waffle,     50 %"] / ours
    everyone = results["waffle,     everyone"] / on
    print(f"waffle takes {rollout:.0f} times as long at 50 %, {everyone:.0f} times")
    print("when it is on for everyone.")
    limits = {
        "is_enabled, 50 %, 20 bytes in all": 6.0,
        "is_enabled, 50 %, id of 20 bytes": 6.0,
        "is_enabled, 100 %": 2.0,
        "is_enabled, 0 %": 2.0,
        "is_enabled, switched off": 2.0,
    }
    missed = [what for what, limit in limits.items() if results[what] > limit]
    if min(rollout, everyone) < 10:
        missed.append("ten times as fast as waffle")
    if missed:
        raise SystemExit(f"Bars that were missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
