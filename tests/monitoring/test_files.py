"""The dashboard and the alerts that ship in docs/ use what the code exports."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from django_strangler.monitoring.metrics import StranglerCollector
from django_strangler.monitoring.tally import Tally
from django_strangler.moves import watching
from tests.services.fixtures import needed

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "monitoring"
PACKAGE = ROOT / "django_strangler"
OPT_IN = [path.parent.name for path in PACKAGE.glob("*/apps.py")]
DECLARED = re.compile(r'counting\.(?:counter|gauge|histogram)\(\s*"(\w+)"')
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}


class Idle:
    """Stands for a relay or a consumer that has done nothing yet."""

    class totals:
        retried = unknown = handled = dead = 0

    class broker:
        ready, is_blocked, trouble = True, False, ""

    source = broker


@pytest.fixture
def exported(sqlite_db, routed, monkeypatch) -> dict[str, list[str]]:
    """The names of the series of each metric, with all that declare one loaded."""
    routed(sqlite_db)  # Some gauges ask it.
    monkeypatch.setattr(watching, "captures", {})  # And those where rows are captured.
    for path in PACKAGE.rglob("*.py"):
        if DECLARED.search(path.read_text()):
            parts = path.relative_to(ROOT).with_suffix("").parts
            importlib.import_module(".".join(parts))
    collector = StranglerCollector((), relays=[Idle()], consumer=Idle(), tally=Tally())
    return {
        family.name: [
            family.name + suffix for suffix in SUFFIXES.get(family.type, [""])
        ]
        for family in collector.collect()
    }


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bstrangler_[a-z_]+", text)) - {
        "strangler_doctor",
        "strangler_moves",
    }


def expressions() -> list[str]:
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_shows_every_metric_and_no_other(exported):
    used = names_in(" ".join(expressions()))

    assert used <= {series for all in exported.values() for series in all}
    # What services and the opt-in apps count is no part of the way of events.
    apart = {
        f"strangler_{name}"
        for folder in ("services", "evidence", *OPT_IN)
        for path in (PACKAGE / folder).rglob("*.py")
        for name in DECLARED.findall(path.read_text())
    }
    unused = [name for name, all in exported.items() if not used & set(all)]
    assert not set(unused) - apart


def test_the_alerts_use_metrics_that_exist(exported):
    used = names_in((FOLDER / "alerts.yml").read_text())

    assert used
    assert used <= {series for all in exported.values() for series in all}


def test_the_reference_lists_every_metric_and_no_other(exported):
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    listed = re.findall(r"(?m)^\| `(strangler_\w+)`", page)

    assert sorted(listed) == sorted(
        name + ("_total" if series[0].endswith("_total") else "")
        for name, series in exported.items()
    )


def test_every_panel_says_where_its_numbers_come_from():
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())

    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_promtool_accepts_the_alerts_and_they_fire(request, tmp_path):
    with needed("promtool", request) as services:
        promtool = services.promtool()
    for path in (FOLDER / "alerts.yml", Path(__file__).parent / "alerts_test.yml"):
        shutil.copy(path, tmp_path)

    for command in (
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire():
    names = re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    tests = (Path(__file__).parent / "alerts_test.yml").read_text()

    fire = re.findall(r"alertname: (\w+)\n +exp_alerts:", tests)

    assert set(fire) == set(names)


def test_promtool_accepts_the_dashboard_s_expressions(request, tmp_path):
    """As rules, for older promtools have no command for expressions alone."""
    with needed("promtool", request) as services:
        promtool = services.promtool()
    # JSON is YAML.
    rules = [
        {"record": f"panel:{n}", "expr": expr.replace("$database", ".*")}
        for n, expr in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    done = subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
