"""Settings with a second database."""

import os

from monolith import database

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["other"] = database.from_url(os.environ["OTHER_DATABASE_URL"])
database.use_pymysql_if_needed()
