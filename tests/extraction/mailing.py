"""Mail by way of the post office, which takes one of each name."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class Backend(BaseEmailBackend):
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            name = str(message.extra_headers["Message-ID"])
            request = urllib.request.Request(
                f"{settings.POST_OFFICE}/mails",
                json.dumps({"to": message.to[0], "subject": message.subject}).encode(),
                {"Content-Type": "application/json", "Idempotency-Key": name},
            )
            urllib.request.urlopen(request, timeout=5).close()
        return len(email_messages)
