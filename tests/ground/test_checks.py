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
        ({"WINDW": 5}, "Did you mean 'WINDOW'"),
        ({"WINDOW": "5"}, r"STRANGLER\['WINDOW'\] is '5'"),
        ({"BROKER_URL": "ampq://rabbit"}, "starts with ampq://, which is no broker"),
        ({"BROKER_URL": ["amqp://a", "local://"]}, "of different kinds"),
        ({"BROKER_URL": "no.such.Broker"}, "cannot be imported"),
        ({"BROKER_URL": OWN_BROKER}, "not a subclass of"),
        ({"UNROUTABLE": {"audit.**": "ignore"}}, r"'audit\.\*\*', which is no pattern"),
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
