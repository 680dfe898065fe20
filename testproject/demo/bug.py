"""What goes wrong on the new path while its bug is in."""

import re
from collections.abc import Sequence

from django.core.mail import EmailMessage

from .mails import FileBackend
from .planted import Planted

IN_PATH = Planted("bug-in-path")


class Bug(Exception):
    """What the new path raises, for some."""


class NewPathBackend(FileBackend):
    """The relay's, which calls the subscribers: it may fail for every second user."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            number = re.search(r"\d+", message.to[0])
            if IN_PATH and number and int(number[0]) % 2:
                raise Bug(f"The new path cannot write to {message.to[0]}.")
        return super().send_messages(email_messages)
