"""
A command of manage.py that ends with whoever started it, however that ended.

    python -m demo.child drain_outbox
"""

import os
import signal
import sys
import threading

from django.core.management import execute_from_command_line


def follow() -> None:
    os.read(0, 1)  # Returns when the other end of the pipe is closed.
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    execute_from_command_line(["manage.py", *sys.argv[1:]])
