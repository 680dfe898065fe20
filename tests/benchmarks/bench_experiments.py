"""
What an experiment costs its caller, beside the package ``laboratory``, in one run.

    python -m tests.benchmarks.bench_experiments

Each number is the median over single calls of a control that returns at once.
The last part makes 100,000 runs with planted differences and noise, and looks at what
was found and how large the tables are.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

CALLS = 10_000
RUNS = 100_000


def set_up(folder: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["DATABASE_PATH"] = os.path.join(folder, "bench.sqlite3")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def timed(call: Callable[[], object], calls: int = CALLS) -> float:
    """The median, in microseconds."""
    for _ in range(200):
        call()
    taken = []
    for _ in range(calls):
        start = perf_counter_ns()
        call()
        taken.append(perf_counter_ns() - start)
    return median(taken) / 1000


def measure() -> dict[str, float]:
    import laboratory

    from django_strangler import feature_flags
    from django_strangler.experiments import experiment
    from django_strangler.experiments.branches import branch

    feature_flags.set_rollout("shadow-off", 0)
    feature_flags.set_rollout("shadow-on", 100)

    def answer() -> int:
        return 7

    def compared(name: str, **options: object) -> Callable[[], int]:
        return experiment(name, candidate=answer, using=[], **options)(answer)  # type: ignore[arg-type]

    old = laboratory.Experiment()

    def with_laboratory() -> object:
        lab = laboratory.Experiment()
        lab.control(answer)
        lab.candidate(answer)
        return lab.conduct(randomize=False)

    class Both:
        def answer(self) -> int:
            return 7

    both = branch("shadow-off", legacy=Both, modern=Both)
    assert old is not None
    return {
        "the function alone": timed(answer),
        "off, by a flag": timed(compared("off", flag="shadow-off", subject=lambda: 1)),
        "off, by the rate": timed(compared("never", rate=0.0)),
        "a branch, legacy answers": timed(both.answer),
        "inline, in autocommit": timed(
            compared("on", flag="shadow-on", subject=lambda: 1)
        ),
        "laboratory, inline": timed(with_laboratory),
    }


def find(folder: str) -> tuple[dict[tuple[str, str], int], set[str], float]:
    """Planted differences and noise: what is found, what is excused, MB of tables."""
    from django.db import connection

    from django_strangler.experiments import experiment
    from django_strangler.experiments.models import Mismatch
    from django_strangler.experiments.recording import recorder

    chance = random.Random(1)
    kinds = ["/total", "/lines/*/qty", "/currency", "/vat", "/status"]

    def answer(n: int, planted: bool) -> dict[str, object]:
        found: dict[str, object] = {
            "total": n,
            "lines": [{"qty": 1}],
            "currency": "EUR",
            "vat": 19,
            "status": "open",
            "served_by": "b" if chance.random() < 0.03 else "a",
        }
        if planted and n % 200 == 0:
            kind = kinds[n // 200 % len(kinds)].strip("/").split("/")[0]
            found[kind] = [{"qty": 2}] if kind == "lines" else "wrong"
        return found

    @experiment(
        "planted", candidate=lambda n: answer(n, True), calibrate=0.05, using=[]
    )
    def control(n: int) -> object:
        return answer(n, False)

    for n in range(RUNS):
        control(n)
        if n % 1000 == 999:
            recorder.write()
    recorder.write()
    rows = Mismatch.objects.filter(experiment="planted")
    found = {(row.candidate, row.path): row.count for row in rows}
    excused = {
        path
        for name, who, path in recorder.excused
        if name == "planted" and who == "candidate"
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat "
            "WHERE name LIKE 'strangler_experiments%'"
        )
        size = cursor.fetchone()[0] / 1e6
    return found, excused, size


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        set_up(folder)
        results = measure()
        for what, microseconds in results.items():
            print(f"{what:36}{microseconds:9.2f} µs")
        found, excused, size = find(folder)
    alone = results["the function alone"]
    print(f"\n{RUNS:,} runs, 0.5 % planted in five places, 3 % noise in one:")
    for (candidate, path), count in sorted(found.items()):
        print(f"  {candidate:12}{path:20}{count:7,}")
    print(f"  excused as noise: {', '.join(sorted(excused)) or 'nothing'}")
    print(f"  tables: {size:.2f} MB")
    bars = {
        "off, at most 3 µs": results["off, by a flag"] - alone <= 3,
        "inline, at most 60 µs": results["inline, in autocommit"] - alone <= 60,
        "all five kinds found": len([k for k in found if k[0] == "candidate"]) == 6,
        "noise excused, and it alone": excused == {"/served_by"},
        "tables under 5 MB": size < 5,
    }
    for bar, is_met in bars.items():
        print(f"{'met   ' if is_met else 'MISSED'}  {bar}")
    raise SystemExit(not all(bars.values()))


if __name__ == "__main__":
    main()
