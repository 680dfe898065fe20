"""A broker's password is in nothing that people or error reports see."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from django_strangler import conf, publish_event
from django_strangler.brokers import make_broker
from django_strangler.brokers.base import shown_url
from django_strangler.brokers.rabbitmq.management import _Management
from django_strangler.brokers.rabbitmq.urls import parse
from django_strangler.exceptions import ConfigurationError, InvalidPayload

SECRET = "S3cret"
URL = f"amqp://relay:{SECRET}@127.0.0.1:1/payments"
# What people write who do not know that it has to be escaped.
TORN_APART = [
    *[f"amqp://relay:{SECRET}{mark}{SECRET}@rabbit-1/payments" for mark in "/#?["],
    *[f"amqp://relay:{mark}{SECRET}@rabbit-1/payments" for mark in ("/", "12/", "#")],
]
UNESCAPED = [
    *TORN_APART,
    *[f"amqp://relay:{SECRET}{mark}{SECRET}@rabbit-1/payments" for mark in "@:%"],
]


def said(error: BaseException | None) -> Iterator[str]:
    """All that an error report shows: texts, causes, and the frames' variables."""
    while error is not None:
        yield "".join(traceback.format_exception(error))
        for frame, _line in traceback.walk_tb(error.__traceback__):
            if "django_strangler" in frame.f_code.co_filename:
                for name, value in frame.f_locals.items():
                    yield f"{frame.f_code.co_name}: {name} = {value!r}"
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context


def assert_no_secret(texts: Iterator[str]) -> None:
    assert not [text for text in texts if SECRET in text]


@pytest.mark.parametrize("url", [URL, *UNESCAPED])
def test_it_is_not_in_the_settings_that_a_traceback_shows(settings, url):
    settings.STRANGLER = {"BROKER_URL": [url, url]}

    assert SECRET not in repr(conf.current())
    assert SECRET not in repr(conf.current().broker_url)
    assert SECRET not in shown_url(url)


@pytest.mark.django_db
def test_it_is_in_no_variable_below_an_error_in_a_view(settings):
    settings.STRANGLER = {"BROKER_URL": URL}

    with transaction.atomic(), pytest.raises(InvalidPayload) as raised:
        publish_event("payment.completed", {"at": object()})

    assert_no_secret(said(raised.value))


def test_it_is_in_no_variable_below_a_setting_that_is_wrong(settings):
    settings.STRANGLER = {"BROKER_URL": URL, "EXCHANGE": 5}

    with pytest.raises(ConfigurationError) as raised:
        publish_event("payment.completed", {})

    assert_no_secret(said(raised.value))


@pytest.mark.parametrize("url", [f"{URL}?heartbeat=often", *TORN_APART])
def test_it_is_not_in_what_is_said_of_a_url_that_is_wrong(settings, url):
    with pytest.raises(ConfigurationError) as raised:
        make_broker(conf.Settings(broker_url=(conf.parsers.BrokerURL(url),)))

    assert_no_secret(said(raised.value))


def test_the_cure_for_a_password_that_is_not_escaped_is_named():
    with pytest.raises(ConfigurationError, match=r"/ is %2F.*BROKER_PASSWORD"):
        parse(f"amqp://relay:/{SECRET}@rabbit-1/pay")


@pytest.mark.parametrize("password", [SECRET, "/S3cret", "a#b?c@d:e%f", "ü 😀"])
def test_beside_the_url_it_needs_no_escaping(settings, password):
    settings.STRANGLER = {
        "BROKER_URL": ["amqp://relay@rabbit-1/pay", "amqps://relay@rabbit-2/pay"],
        "BROKER_PASSWORD": password,
    }

    for url in conf.current().broker_url:
        node = parse(url)
        assert node.parameters.credentials.username == "relay"
        assert node.parameters.credentials.password == password
    assert password not in repr(conf.current())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("amqp://rabbit-1/pay", "given with the user in BROKER_URL"),
        (URL, "empty where BROKER_URL holds a password"),
    ],
)
def test_one_that_fits_no_url_is_refused(settings, url, message):
    settings.STRANGLER = {"BROKER_URL": url, "BROKER_PASSWORD": SECRET}

    with pytest.raises(ConfigurationError, match=message) as raised:
        conf.current()

    assert_no_secret(said(raised.value))


def test_without_a_broker_it_may_be_there_already(settings):
    settings.STRANGLER = {"BROKER_PASSWORD": SECRET}

    assert conf.current().broker_url == ("local://",)


def test_django_s_error_report_masks_it(settings):
    settings.STRANGLER = {
        "BROKER_URL": "amqp://relay@rabbit-1/pay",
        "BROKER_PASSWORD": SECRET,
    }
    request = RequestFactory().get("/")
    reporter = ExceptionReporter(request, None, None, None, is_email=True)

    assert "BROKER_URL" in reporter.get_traceback_text()
    assert SECRET not in reporter.get_traceback_text()


@pytest.mark.django_db  # A check of JSON fields asks the database, if it is the first.
def test_one_in_the_url_is_warned_of_before_a_deployment(settings, capsys):
    settings.STRANGLER = {"BROKER_URL": "amqps://relay:S3cret@rabbit-1/pay"}

    call_command("check", "--deploy", "--fail-level", "CRITICAL")

    assert "strangler.W008" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("management", "environment", "sent"),
    [
        ("", {}, "relay:S3cret"),
        ("http://127.0.0.1:15672", {}, "relay:S3cret"),
        ("http://elsewhere:15672", {}, ":"),
        (
            "https://elsewhere:15671",
            {
                "RABBITMQ_MANAGEMENT_USER": "watch",
                "RABBITMQ_MANAGEMENT_PASSWORD": "dog",
            },
            "watch:dog",
        ),
    ],
)
def test_the_broker_s_login_goes_to_the_broker_s_host_alone(
    monkeypatch, management, environment, sent
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    api = _Management(parse(URL), management)

    assert base64.b64decode(api._token).decode() == sent
