"""AMQP URLs: what they may say, and that mistakes are found early."""

from __future__ import annotations

import ssl

import pytest

from django_strangler.brokers import make_broker
from django_strangler.brokers.rabbitmq.urls import parse
from django_strangler.conf import Settings
from django_strangler.exceptions import ConfigurationError


def test_everything_has_a_default():
    node = parse("amqp://")

    parameters = node.parameters
    assert (parameters.host, parameters.port) == ("localhost", 5672)
    assert parameters.virtual_host == "/"
    assert parameters.credentials.username == "guest"
    assert parameters.heartbeat == 15
    assert parameters.blocked_connection_timeout is None
    assert parameters.ssl_options is None
    assert node.confirm_timeout == 5


def test_a_url_says_everything():
    node = parse(
        "amqp://relay:p%40ss%2Fw@rabbit-1:5673/shop%2Feu"
        "?heartbeat=5&connection_timeout=2.5&confirm_timeout=7"
    )

    parameters = node.parameters
    assert (parameters.host, parameters.port) == ("rabbit-1", 5673)
    assert parameters.virtual_host == "shop/eu"
    assert parameters.credentials.username == "relay"
    assert parameters.credentials.password == "p@ss/w"
    assert parameters.heartbeat == 5
    assert parameters.socket_timeout == parameters.stack_timeout == 2.5
    assert node.confirm_timeout == 7
    assert node.shown == "amqp://relay@rabbit-1:5673/shop%2Feu"


def test_tls_verifies_unless_told_otherwise():
    node = parse("amqps://rabbit-1/")

    assert node.port == 5671
    options = node.parameters.ssl_options
    assert options.context.verify_mode is ssl.CERT_REQUIRED
    assert options.context.check_hostname
    assert options.server_hostname == "rabbit-1"
    loose = parse("amqps://rabbit-1/?verify=verify_none&server_name_indication=it")
    assert loose.parameters.ssl_options.context.verify_mode is ssl.CERT_NONE
    assert loose.parameters.ssl_options.server_hostname == "it"


def test_a_client_certificate_may_say_who_it_is():
    node = parse("amqps://rabbit-1/?auth_mechanism=external")

    assert node.parameters.credentials.TYPE == "EXTERNAL"


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("amqp://u:Pa55@h:port/", "cannot be parsed"),
        ("amqp://u:Pa55@h/?heartbeet=1", "heartbeet"),
        ("amqp://u:Pa55@h/?heartbeat=often", "heartbeat"),
        ("amqp://u:Pa55@h/?confirm_timeout=0", "confirm_timeout"),
        ("amqp://u:Pa55@h/?connection_timeout=nan", "connection_timeout"),
        ("amqp://u:Pa55@h/?heartbeat", "cannot be parsed"),
        ("amqp://u:Pa55@h/?cacertfile=x", "needs amqps://"),
        ("amqp://u:Pa55@h/?auth_mechanism=magic", "auth_mechanism"),
        ("amqps://u:Pa55@h/?cacertfile=/not/there", "cannot be loaded"),
        ("amqps://u:Pa55@h/?certfile=/not/there", "cannot be loaded"),
        ("amqps://u:Pa55@h/?keyfile=/not/there", "no certfile"),
        ("amqps://u:Pa55@h/?verify=perhaps", "verify"),
    ],
)
def test_a_mistake_in_a_url_is_named_and_the_password_is_not(url, part):
    with pytest.raises(ConfigurationError) as caught:
        make_broker(Settings(broker_url=(url,)))

    assert part in str(caught.value)
    assert "BROKER_URL" in str(caught.value)
    assert "Pa55" not in str(caught.value)
