"""
The desk of the team: manage.py, loaded once, for one command after the other.

Reads a list of words a line, and answers with a status and what was said.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

import django
from django.core.management import ManagementUtility
from django.db import connections


def typed(command: list[str]) -> tuple[int, str]:
    said, status = io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(said):
        try:
            ManagementUtility(["manage.py", *command]).execute()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except Exception as error:  # noqa: BLE001  (A server is away: say so.)
            status = 1
            print(error)
    connections.close_all()
    return status, said.getvalue()


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        print(json.dumps(typed(json.loads(line))), flush=True)
