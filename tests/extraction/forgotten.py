"""The monolith's own job for what died between a commit and its mail, run once."""

from datetime import timedelta

import django

if __name__ == "__main__":
    django.setup()
    from notifications import tasks

    tasks.FORGOTTEN_AFTER = timedelta(0)
    print(tasks.send_forgotten_emails(), tasks.resend_failed_emails())
