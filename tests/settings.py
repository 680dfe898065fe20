"""Settings for the tests: the monolith, with the app's defaults."""

from __future__ import annotations

from monolith.settings import *  # noqa: F403

# In other processes too, what tests publish is not held to the monolith's contracts.
STRANGLER = {**STRANGLER, "CONTRACTS": {"VALIDATE": False}}  # noqa: F405

# What a real one takes its time for, is not what any test is about.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
