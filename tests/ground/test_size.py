"""The budget of lines: what the core may weigh, and how large a file may get."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import lines  # noqa: E402

# docs/decisions/0004, 0006 and 0008 say what they are made of.
PARTS = {
    "services": 1_690,
    "evidence": 860,
    "facade": 1_680,
    "experiments": 2_140,
    "http_idempotency": 1_420,
    "sagas": 1_300,
    "moves": 4_440,
    "contracts": 1_900,
    "survey": 2_310,
}
CORE = 17_475  # Without those.


def test_blank_lines_comments_and_docstrings_do_not_count():
    source = (
        '"""A module."""\n\n# A comment.\ndef f():\n    """It is."""\n    return 1\n'
    )

    assert lines.lines_of_code(source) == 2


@pytest.fixture(scope="module")
def counted() -> dict[Path, int]:
    return lines.count()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_stays_within_its_budget(part, counted):
    weight = sum(n for path, n in counted.items() if path.parts[0] == part)

    assert weight <= PARTS[part]


def test_the_core_stays_within_its_budget(counted):
    rest = [n for path, n in lines.core(counted).items() if path.parts[0] not in PARTS]

    assert sum(rest) <= CORE


def test_half_of_the_files_have_at_most_ninety_lines(counted):
    assert statistics.median(n for n in lines.core(counted).values() if n) <= 90
