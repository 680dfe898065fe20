"""The service's own tests, which need no server."""

from __future__ import annotations

import subprocess


def test_the_service_s_own_tests_pass(payments_service):
    done = subprocess.run(
        ["node", "--test", "test/"],
        cwd=payments_service,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout
