"""
Count lines of code: no blank ones, no comments, no docstrings, no migrations.

    python scripts/lines.py            each part of the package, and the sum of the core
    python scripts/lines.py FOLDER     another one
"""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "django_strangler"


def lines_of_code(source: str) -> int:
    """The lines that a statement stands on, and that say something."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            continue
        first = node.body[0] if node.body else None
        said = first.value if isinstance(first, ast.Expr) else None
        if isinstance(said, ast.Constant) and isinstance(said.value, str):
            docstrings |= {*range(said.lineno, (said.end_lineno or 0) + 1)}
    return sum(
        bool(text.strip()) and not text.lstrip().startswith("#")
        for number, text in enumerate(source.splitlines(), 1)
        if number not in docstrings
    )


def count(package: Path = PACKAGE) -> dict[Path, int]:
    """Lines of code by file, relative to the package."""
    return {
        path.relative_to(package): lines_of_code(path.read_text())
        for path in sorted(package.rglob("*.py"))
        if "migrations" not in path.relative_to(package).parts
    }


def opt_in(package: Path = PACKAGE) -> set[str]:
    """The folders that are apps of their own."""
    return {path.parent.name for path in package.glob("*/apps.py")}


def core(counted: dict[Path, int], package: Path = PACKAGE) -> dict[Path, int]:
    """Of what was counted, what a project has with `django_strangler` alone."""
    apart = opt_in(package)
    return {
        path: number for path, number in counted.items() if path.parts[0] not in apart
    }


def main(package: Path) -> None:
    """Print a table."""
    found, apart = count(package), opt_in(package)
    parts: dict[str, int] = {}
    for path, number in found.items():
        name = path.parts[0] if len(path.parts) > 1 else "(single modules)"
        parts[name] = parts.get(name, 0) + number
    for name, number in sorted(parts.items(), key=lambda each: -each[1]):
        print(f"{number:7,}  {name}{'  (opt-in)' if name in apart else ''}")
    sizes = [number for number in core(found, package).values() if number]
    print(
        f"{sum(sizes):7,}  the core, in {len(sizes)} files that hold any; "
        f"median {statistics.median(sizes):g}, largest {max(sizes)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if sys.argv[1:] else PACKAGE)
