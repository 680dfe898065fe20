"""
The old notifications leave the code, in a copy of the test project: two releases.

The first no longer calls them, and nobody leans on their tables; with it, the board
says that they are safe to retire. The second has no folder of theirs any more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.services.leftovers import ROOT

# By file: what goes, and what comes in its place.
CUT: dict[str, list[tuple[str, str]]] = {
    "payments/models.py": [
        ("    from notifications.models import Receipt\n", ""),
        ("        receipts: RelatedManager[Receipt]\n", ""),
    ],
    "payments/services.py": [
        ("from notifications.services import send_refund_email\n", ""),
        (
            "    if not moved:\n"
            "        transaction.on_commit("
            "lambda: send_refund_email(refund), using=refund._state.db)\n\n",
            "",
        ),
        ("from django.db import transaction\n", ""),
    ],
    "payments/views.py": [
        ("from notifications.services import send_payment_email\n", ""),
        (
            "    if not moved:\n"
            "        transaction.on_commit(\n"
            "            lambda: send_payment_email(payment), using=payment._state.db\n"
            "        )\n\n",
            "",
        ),
        ("import IntegrityError, transaction\n", "import IntegrityError\n"),
        (
            "    receipts = [receipt.text for receipt in "
            'payment.receipts.order_by("id")]\n',
            "",
        ),
        ('"receipts": receipts}', '"receipts": []}'),
    ],
    "users/services.py": [
        (
            "from notifications.services import "
            "send_password_reset_email, send_welcome_email\n",
            "",
        ),
        (
            "    if not moved:\n"
            "        transaction.on_commit(lambda: send_welcome_email(user))\n\n",
            "",
        ),
        ("    event = publish_event(", "    publish_event("),
        (
            "    if not moved:\n"
            "        transaction.on_commit("
            "lambda: send_password_reset_email(user, str(event.id)))\n",
            "",
        ),
    ],
    "users/apps.py": [
        (
            "\n    def ready(self) -> None:\n"
            "        from . import signals  # noqa: F401\n",
            "",
        ),
    ],
    "reporting/models.py": [
        (
            "    stale = models.BooleanField(",
            "    source = models.CharField(\n"
            '        max_length=16, blank=True, default="", db_default=""\n'
            "    )\n"
            "    stale = models.BooleanField(",
        ),
    ],
    "reporting/summaries.py": [
        ("from notifications.models import EmailLog\n", ""),
        (
            '            "emails": EmailLog.objects.filter(\n'
            "                sent_at__gte=start, sent_at__lt=end\n"
            "            ).count(),\n",
            "",
        ),
    ],
    "reporting/queries.py": [
        ("    unnotified: int  # Payments whose user has been sent no receipt.\n", ""),
        (
            "                SUM(given_back.amount),\n"
            "                SUM(CASE WHEN EXISTS (\n"
            "                    SELECT 1 FROM notifications_receipt receipt\n"
            "                    WHERE receipt.payment_id = p.id\n"
            "                ) THEN 0 ELSE 1 END)\n",
            "                SUM(given_back.amount)\n",
        ),
        ("                unnotified=int(unnotified),\n", ""),
        ("gross, refunded, unnotified in (", "gross, refunded in ("),
    ],
}
# What carries a secret is mailed by whoever makes it.
RESETS = '''"""A password reset's mail has a secret in it, which no event carries."""

from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from django_strangler import subscribe
from django_strangler.events import Event

from .contracts import PasswordResetRequested
from .models import User


@subscribe(PasswordResetRequested, name="password-resets")
def send_password_reset(event: Event) -> None:
    user = User.objects.get(pk=event.data.userId)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    EmailMessage(
        "Your new password",
        f"Choose it here: {uid}/{default_token_generator.make_token(user)}",
        to=[user.email],
        headers={"Message-ID": f"<user.password-reset.{event.id}@example.com>"},
    ).send()
'''
# A release has a migration, which the one before can live with.
MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("reporting", "0002_activity")]

    operations = [
        migrations.AddField(
            "dailysummary",
            "source",
            models.CharField(max_length=16, blank=True, default="", db_default=""),
        )
    ]
"""
DELETED: dict[str, list[tuple[str, str]]] = {
    "monolith/settings.py": [
        ('    "notifications",\n', ""),
        (
            '    "resend-failed-emails": {\n'
            '        "task": "notifications.tasks.resend_failed_emails",\n'
            '        "schedule": 600.0,\n'
            "    },\n",
            "",
        ),
        (
            '    "send-forgotten-emails": {\n'
            '        "task": "notifications.tasks.send_forgotten_emails",\n'
            '        "schedule": 600.0,\n'
            "    },\n",
            "",
        ),
        (
            '    "send-dunning-reminders": {\n'
            '        "task": "notifications.tasks.send_dunning_reminders",\n'
            '        "schedule": 3600.0,\n'
            "    },\n",
            "",
        ),
    ],
    "monolith/urls.py": [
        ('    path("notifications/", include("notifications.urls")),\n', ""),
    ],
}
# Of the tests, what was about the old mails; the rest holds as it did.
TESTS = ("test_payments.py", "test_users.py", "test_reporting.py", "test_once.py")
OLD = ("from notifications", "    assert len(mail.outbox)")  # Lines.
ABOUT_MAILS = (
    "test_completing_a_payment_books_mails_and_publishes_it",
    "test_a_user_who_has_moved_gets_no_mail_from_here",
    "test_signing_up_welcomes_and_publishes",
    "test_a_password_reset_is_mailed_and_published",
    "test_staff_read_no_token_of_a_password_reset",
    "test_a_new_user_gets_a_notification_preference",
    "test_a_summary_counts_one_day",
    "test_revenue_is_broken_down_by_locale",
)


def copied(folder: Path) -> Path:
    """The test project as it is, somewhere else."""
    without = shutil.ignore_patterns(
        "node_modules", "__pycache__", "*_service", "*.sqlite3"
    )
    return Path(shutil.copytree(ROOT / "testproject", folder, ignore=without))


def cut_ties(project: Path) -> None:
    """The first release: nobody leans on the old notifications."""
    _edit(project, CUT)
    (project / "users" / "signals.py").unlink()
    (project / "notifications" / "subscribers.py").unlink()
    (project / "users" / "subscribers.py").write_text(RESETS)
    migrations = project / "reporting" / "migrations"
    (migrations / "0003_source.py").write_text(MIGRATION)


def delete(project: Path) -> None:
    """The second: they are gone."""
    _edit(project, DELETED)
    shutil.rmtree(project / "notifications")


def test(project: Path, scratch: Path) -> tuple[int, str]:
    """Run the tests of what is left; the exit status, and what they say."""
    tests = Path(
        shutil.copytree(ROOT / "tests" / "testproject", scratch / "tests_of_the_copy")
    )
    for name in TESTS:
        path = tests / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(each for each in lines if not each.startswith(OLD)))
    files = [str(tests / name) for name in TESTS]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"--rootdir={scratch}", f"--confcutdir={scratch}"),
            *("-o", f"pythonpath={ROOT} {project}"),
            *("--ds", "tests.settings", *files),
            *("-k", " and ".join(f"not {name}" for name in ABOUT_MAILS)),
        ],
        cwd=scratch,
        env=_plain(project),
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def _plain(project: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{project}:{ROOT}",
        "DATABASE_URL": "",
        "DATABASE_PATH": ":memory:",
    }


def _edit(project: Path, edits: dict[str, list[tuple[str, str]]]) -> None:
    for name, changes in edits.items():
        path = project / name
        text = path.read_text()
        for before, after in changes:
            assert before in text, f"{name} has changed: {before!r}"
            text = text.replace(before, after, 1)
        path.write_text(text)
