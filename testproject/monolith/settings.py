"""For development and tests: loopback only, no secrets, mail to the console."""

import os
from pathlib import Path

from . import database

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "for-development-only-and-nothing-else"
DEBUG = os.environ.get("DEBUG", "1") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_strangler",
    "django_strangler.facade",
    "django_strangler.http_idempotency",
    "django_strangler.sagas",
    "django_strangler.moves",
    "django_strangler.experiments",
    "django_strangler.survey",
    "django_strangler.contracts",
    "users",
    "payments",
    "notifications",
    "reporting",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_strangler.facade.FacadeMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "monolith.urls"
WSGI_APPLICATION = "monolith.wsgi.application"
ASGI_APPLICATION = "monolith.asgi.application"
STATIC_URL = "static/"
LOGIN_URL = "admin:login"

DATABASES = {
    "default": (
        database.from_url(os.environ["DATABASE_URL"])
        if os.environ.get("DATABASE_URL")
        else database.from_path(
            os.environ.get("DATABASE_PATH") or BASE_DIR / "db.sqlite3"
        )
    )
}
# Where payments are to move. Without it, there is nothing to move.
if os.environ.get("PAYMENTS_DATABASE_URL"):
    DATABASES["payments"] = database.from_url(os.environ["PAYMENTS_DATABASE_URL"])
    DATABASE_ROUTERS = ["django_strangler.moves.Router"]
if any(each["ENGINE"] == "django.db.backends.mysql" for each in DATABASES.values()):
    database.use_pymysql_if_needed()
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "users.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# The token of a password reset travels by mail: it must be worthless soon.
PASSWORD_RESET_TIMEOUT = 60 * 60

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

EMAIL_BACKEND = os.environ.get(
    "EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend"
)
DEFAULT_FROM_EMAIL = "payments@example.com"

STRANGLER = {"BROKER_URL": os.environ.get("BROKER_URL", "local://")}
PAYMENTS_SERVICE_URL = os.environ.get("PAYMENTS_SERVICE_URL", "")
BANK_URL = os.environ.get("BANK_URL", "")
_services = {"payments": PAYMENTS_SERVICE_URL, "bank": BANK_URL}
if any(_services.values()):
    STRANGLER["SERVICES"] = {
        name: {"URL": url} for name, url in _services.items() if url
    }
if os.environ.get("IDENTITY_KEY"):
    STRANGLER["IDENTITY"] = {"KEYS": [os.environ["IDENTITY_KEY"]]}

# Lets the new receipts be wrong now and then, for an experiment to find.
RECEIPTS_BUG = os.environ.get("RECEIPTS_BUG", "0") == "1"

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "memory://")
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULE = {
    "expire-stale-payments": {
        "task": "payments.tasks.expire_stale_payments",
        "schedule": 300.0,
    },
    "resend-failed-emails": {
        "task": "notifications.tasks.resend_failed_emails",
        "schedule": 600.0,
    },
    "send-forgotten-emails": {
        "task": "notifications.tasks.send_forgotten_emails",
        "schedule": 600.0,
    },
    "send-dunning-reminders": {
        "task": "notifications.tasks.send_dunning_reminders",
        "schedule": 3600.0,
    },
    "summarise-yesterday": {
        "task": "reporting.tasks.summarise_yesterday",
        "schedule": 3600.0,
    },
}

# Asked in turn before a payment is accepted; each may refuse it.
PAYMENT_CHECKS = ["users.kyc.check_limit"]
