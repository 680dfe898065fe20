"""
What a survey takes, and what ``pytest --strangler-survey`` adds to a run of the tests.

    python -m tests.benchmarks.bench_survey [--lines 300000] [--models 500] [--rounds 5]

The first surveys a project that it writes: the processor's time from the first line
read to the last, and the most memory that the whole process had. The second runs tests
of the test project in turn without and with the option; the least time of each counts.
It is the processor's, as what else the machine does can only make one slower. Ends with
1 if it takes more than 30 seconds, 500 MB or 10 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
APPS = 50
TESTS = "payments", "users", "notifications", "reporting"
PROGRAM = """
import resource, time
import django
django.setup()
from django_strangler.survey import survey
started = time.process_time()
found = survey()
took = time.process_time() - started
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(took, most, len(found.couplings), len(found.troubles))
"""
SETTINGS = """
SECRET_KEY = "for-benchmarks-only"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django_strangler", "django_strangler.survey",
    *(f"app{{number}}" for number in range({apps})),
]
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"
}}}}
ROOT_URLCONF = "urls"
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates"}}]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODEL = """
class Thing{n}x{m}(models.Model):
    name = models.CharField(max_length=99)
    other = models.ForeignKey("{other}", models.CASCADE, related_name="things_{n}x{m}")
"""
FUNCTION = '''
def work_{number}(request, thing_id, limit=100):
    """Do what such functions do."""
    from app{other}.models import Thing{other}x{m}

    thing = Thing{other}x{m}.objects.select_related("other").get(pk=thing_id)
    rows = thing.other.things_{n}x{m}.filter(name__startswith="a")[:limit]
    totals = {{}}
    for row in rows:
        totals.setdefault(row.name, []).append({{"id": row.pk, "name": row.name}})
    if not totals and request is not None:
        model = apps.get_model("app{n}", "Thing{n}x{m}")
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, name FROM app{other}_thing{other}x{m} LIMIT 5")
            totals = {{name: [key] for key, name in cursor.fetchall()}}
        logger.info("%s of %s had nothing, %s", model, thing, len(totals))
    return sorted(totals.items(), key=lambda each: (len(each[1]), each[0]))
'''
HEAD = """import logging
from django.apps import apps
from django.db import connection
logger = logging.getLogger(__name__)
"""


def write(folder: Path, lines: int, models: int) -> int:
    """A project of this size; returns its lines."""
    (folder / "project_settings.py").write_text(SETTINGS.format(apps=APPS))
    (folder / "urls.py").write_text("urlpatterns = []\n")
    of_app = models // APPS
    length = FUNCTION.count("\n")
    functions = lines // APPS // length
    written = 0
    for n in range(APPS):
        app = folder / f"app{n}"
        app.mkdir()
        (app / "__init__.py").touch()
        other = (n * 7 + 3) % APPS
        source = "from django.db import models\n" + "".join(
            MODEL.format(n=n, m=m, other=f"app{other}.Thing{other}x{m}")
            for m in range(of_app)
        )
        (app / "models.py").write_text(source)
        written += source.count("\n")
        for module in range(0, functions, 25):
            source = HEAD + "".join(
                FUNCTION.format(number=k, n=n, m=k % of_app, other=(n + k) % APPS)
                for k in range(module, min(module + 25, functions))
            )
            (app / f"module{module}.py").write_text(source)
            written += source.count("\n")
    return written


def survey(lines: int, models: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="strangler-survey-") as folder:
        written = write(Path(folder), lines, models)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([folder, str(ROOT)]),
                "DJANGO_SETTINGS_MODULE": "project_settings",
            },
            capture_output=True,
            text=True,
            check=True,
        )
    took, most, couplings, _ = map(float, done.stdout.split())
    print(
        f"{written:,} lines, {models} models, {couplings:,.0f} couplings: "
        f"{took:.1f} s, {most:.0f} MB"
    )
    return took <= 30 and most <= 500


def run(*options: str) -> float:
    """Seconds that tests of the test project take."""
    before = os.times()
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "--without-services", *options),
            *(f"tests/testproject/test_{name}.py" for name in TESTS),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])  # Of children.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    is_fine = survey(options.lines, options.models)
    without, with_it = [], []
    for _ in range(options.rounds):
        without.append(run())
        with_it.append(run("--strangler-survey"))
    more = min(with_it) / min(without) - 1
    with_option = f"with the option {min(with_it):.2f} s: {more:+.1%}"
    print(f"tests: {min(without):.2f} s, {with_option}")
    (ROOT / "testproject" / "strangler_survey_observed.json").unlink(missing_ok=True)
    return 0 if is_fine and more <= 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
