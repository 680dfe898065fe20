"""Who runs a command."""

from __future__ import annotations

import os


def login() -> str:
    """By the system's own word: a variable such as LOGNAME says what one likes."""
    try:
        import pwd  # Not on Windows.

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # In a container the number may have no name.
        return ""
