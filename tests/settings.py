"""Settings for the tests: the monolith, with the app's defaults."""

from __future__ import annotations

from monolith.settings import *  # noqa: F403
