"""The service in Node.js keeps to its needs, and its needs to what it gets."""

from __future__ import annotations

import subprocess


def test_the_notifications_run_on_the_samples(notifications_service):
    done = subprocess.run(
        ["node", "--test", "test/contracts.test.js"],
        cwd=notifications_service,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout
