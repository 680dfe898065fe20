"""Settings with a second alias."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["other"] = {**DATABASES["default"]}
