"""Settings for a Celery worker whose queue is a folder."""

import os

from tests.settings import *  # noqa: F403

STRANGLER = {"BROKER_URL": "tests.relay.file_broker.FileBroker"}
_folder = os.environ["CELERY_FOLDER"]
CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": f"{_folder}/queue",
    # What is being written there is read half written.
    "data_folder_out": f"{_folder}/sent",
    "processed_folder": f"{_folder}/done",
    "control_folder": f"{_folder}/control",
}
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
