from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_strangler.brokers.base import shown_url

# From Django 6.1 on, the command looks at the databases too.
pytestmark = pytest.mark.django_db

OWN_BROKER = f"{__name__}.NoBroker"


class NoBroker:
    """Importable, and not a subclass of Broker."""


def test_the_checks_pass_on_the_test_project():
    call_command("check")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"RETENTON": 5}, "Did you mean 'RETENTION'"),
        ({"RELAY": {"WINDOW": "5"}}, r"STRANGLER\['RELAY'\]\['WINDOW'\] is '5'"),
        ({"BROKER_URL": "ampq://rabbit"}, "starts with ampq://, which is not a broker"),
        ({"BROKER_URL": ["amqp://a", "local://"]}, "of different kinds"),
        ({"BROKER_URL": "no.such.Broker"}, "cannot be imported"),
        ({"BROKER_URL": OWN_BROKER}, "not a subclass of"),
        (
            {"UNROUTABLE": {"audit.**": "ignore"}},
            r"'audit\.\*\*', which is not a valid",
        ),
    ],
)
def test_a_wrong_setting_fails_the_check(settings, given, message):
    settings.STRANGLER = given

    with pytest.raises(SystemCheckError, match=rf"(?s)strangler\.E001.*{message}") as e:
        call_command("check")

    assert "HINT: The settings reference" in str(e.value)


@pytest.mark.parametrize("url", ["local://", "memory://", "amqp://rabbit:5673/shop"])
def test_a_broker_url_without_secrets_is_shown_as_it_is(url):
    assert shown_url(url) == url


def test_nothing_of_a_broker_url_is_shown_but_where_it_leads(settings):
    settings.STRANGLER = {"BROKER_URL": ["amqp://user:secret@rabbit", "local://"]}

    with pytest.raises(SystemCheckError, match="amqp://user@rabbit") as raised:
        call_command("check")

    assert "secret" not in str(raised.value)


DEPLOY = ("check", "--deploy", "--fail-level", "CRITICAL")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("local://", {"W005"}),
        ("memory://", {"W005"}),
        ("amqp://localhost", {"W006"}),
        ("amqp://guest:guest@127.0.0.1/shop", {"W006"}),
        ("amqp://relay:s3cret@rabbit-1", {"W007"}),
        ("amqp://rabbit-1", {"W006", "W007"}),
        ("amqps://relay:s3cret@rabbit-1", set()),
        ("amqp://relay:s3cret@[::1]", set()),
        ("amqps://rabbit-1/?auth_mechanism=external", set()),
    ],
)
def test_what_is_wrong_in_production_is_told_when_one_asks(
    settings, capsys, url, expected
):
    settings.STRANGLER = {"BROKER_URL": url}

    call_command(*DEPLOY)

    said = capsys.readouterr().err
    assert {each for each in ("W005", "W006", "W007") if each in said} == expected
    assert "s3cret" not in said


def test_nothing_of_it_is_said_on_a_laptop(settings, capsys):
    settings.STRANGLER = {}

    call_command("check")

    assert "strangler." not in capsys.readouterr().err
