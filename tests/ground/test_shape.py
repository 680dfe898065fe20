"""The shape of the house that import-linter does not see."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

PACKAGE = Path(__file__).parents[2] / "django_strangler"
OPT_IN = sorted(path.parent.name for path in PACKAGE.glob("*/apps.py"))
# What an opt-in app may import of the core: its seams, and the faces of capabilities.
SEAMS = (
    "admin.asking",
    "admin.bounded",
    "admin.readonly",
    "announcing",
    "brokers",
    "clock",
    "conf",
    "context",
    "counting",
    "databases",
    "domains",
    "events",
    "evidence",
    "exceptions",
    "extending",
    "extras",
    "faces",
    "feature_flags",
    "findings",
    "holding",
    "inbox.dead_letters",
    "inbox.handling",
    "inbox.subscribers",
    "inbox.trust",
    "logs",
    "management.base",
    "management.progress",
    "management.stopping",
    "models",
    "monitoring.board",
    "monitoring.examinations",
    "monitoring.panels",
    "outbox.encoding",
    "outbox.models",
    "outbox.publishing",
    "outbox.rules",
    "printable",
    "pruning",
    "services",
    "signals",
    "tracing",
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import, also those inside functions and for types only."""
    return grimp.build_graph("django_strangler", cache_dir=None)


def test_no_module_imports_itself_by_way_of_others(graph):
    imports = {
        each: graph.find_modules_directly_imported_by(each) for each in graph.modules
    }

    assert not _circles(imports)


@pytest.mark.parametrize("app", OPT_IN)
def test_an_opt_in_app_imports_seams_only(graph, app):
    own = f"django_strangler.{app}"
    modules = {own, *graph.find_descendants(own)}
    imported = {
        found.removeprefix("django_strangler.")
        for module in modules
        for found in graph.find_modules_directly_imported_by(module)
        if found not in modules
    }

    beyond = {
        name
        for name in imported
        if not any(f"{name}.".startswith(f"{seam}.") for seam in SEAMS)
    }
    assert not beyond


def _circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Modules that reach each other: the strongly connected parts, by Tarjan."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            place = stack.index(module)
            part = set(stack[place:])
            del stack[place:]
            if len(part) > 1 or module in imports[module]:
                found.append(part)

    for module in imports:
        if module not in number:
            visit(module)
    return found
