"""The monolith's settings with the demo's page: for one run, on this machine only."""

import os

from django.core.management.utils import get_random_secret_key
from monolith.settings import *  # noqa: F403
from monolith.settings import INSTALLED_APPS, STRANGLER

from .planted import Planted

SECRET_KEY = get_random_secret_key()  # Nobody's session outlives a run.
DEBUG = False  # As in production; debugging would also remember every query.
INSTALLED_APPS = [*INSTALLED_APPS, "demo"]
ROOT_URLCONF = "demo.urls"

EMAIL_BACKEND = os.environ.get("DEMO_BACKEND", "demo.mails.FileBackend")
DEMO_MAILS = os.environ["DEMO_MAILS"]
RECEIPTS_BUG = Planted("bug-in-texts")

# A short lease: the lanes of a relay that is killed rest for so long, and people watch.
STRANGLER = {**STRANGLER, "RELAY": {"LEASE": 2.0, "POLL_INTERVAL": 0.5}}
