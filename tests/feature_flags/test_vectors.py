"""The reference's test vectors, in Python and in Node.js."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from django_strangler.feature_flags.buckets import bucket, threshold

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "feature_flags.md"
VECTORS = re.findall(
    r"^\| `([\w.-]+):([^`]*)` \| (\d+) \| ([\d.]+) \|$", PAGE.read_text(), re.M
)


def test_there_are_vectors():
    assert len(VECTORS) >= 6


@pytest.mark.parametrize(("salt", "subject", "number", "place"), VECTORS)
def test_the_documented_places_are_right(salt, subject, number, place):
    assert bucket(salt, subject) == int(number)
    assert f"{100 * int(number) / 0xFFFFFFFF:.4f}" == place


def test_the_documented_program_for_node_agrees_with_us():
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    program = re.search(r"```javascript\n(.*?)```", PAGE.read_text(), re.S)
    subjects = [subject for _, subject, _, _ in VECTORS] + [
        "é" * length + str(length) for length in range(40)
    ]
    percentages = ["0", "0.01", "0.29", "12.34", "33.33", "57.3", "99.99", "100"]
    ask = (
        "const [subjects, percentages] = JSON.parse(process.argv[1]);"
        'console.log(JSON.stringify(subjects.map((s) => [bucket("f", s),'
        ' ...percentages.map((p) => isEnabled("f", s, Number(p)))])));'
    )

    done = subprocess.run(
        [node, "-e", program[1] + ask, json.dumps([subjects, percentages])],
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == [
        [bucket("f", each)]
        + [
            p == "100" or (each != "" and bucket("f", each) < threshold(Decimal(p)))
            for p in percentages
        ]
        for each in subjects
    ]
