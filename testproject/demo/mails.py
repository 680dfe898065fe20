"""Where the demo's mails go: a file each, so that they can be counted."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class FileBackend(BaseEmailBackend):
    """Django's own writes them as they travel, encoded by the rules of each version."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            path = Path(settings.DEMO_MAILS) / f"{uuid4()}.txt"
            path.write_text(str(message.body), encoding="utf-8")
        return len(email_messages)
