from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_strangler import conf
from django_strangler.exceptions import ConfigurationError, StranglerError

NAMES = [
    field.name.upper()
    for table in (conf.Settings, conf.RelaySettings)
    for field in dataclasses.fields(table)
    if field.name != "relay"
]
INNER = [field.name.upper() for field in dataclasses.fields(conf.RelaySettings)]
WRONG: dict[str, list[Any]] = {
    "BROKER_URL": ["", [], ["amqp://a", 1], None, 5672, "localhost:5672", "amqp:/a"],
    "BROKER_PASSWORD": [None, 5, b"secret", "a\0b"],
    "EXCHANGE": ["", None, b"events", "x" * 256, "ä" * 128, "a\x00b", "\ud800"],
    "SOURCE": ["", None, 1, "x" * 256, "a\nb"],
    "REQUIRE_TRANSACTION": [None, 1, "True"],
    "MAX_PAYLOAD_BYTES": [0, -1, 1.5, "1", True, None, 2**31],
    "UNROUTABLE": ["drop", None, {"#": "drop"}, {1: "park"}, ["park"], {"#": []}],
    "UNROUTABLE_GRACE": [None, -1, "30"],
    "PARKED_HOLDS_KEY": [None, 0, "no"],
    "MAX_ATTEMPTS": [0, 2**31, 10.0],
    "RETENTION": [-1, "7 days", None, timedelta(days=-1), 10**5000],
    "INBOX_RETENTION": [0, -1, None, "90 days"],
    "HANDLER_TIMEOUT": [0, None, "1 min"],
    "FLAG_REFRESH": [-1, None, float("nan")],
    "RETIRE_AFTER": [-1, None, "2 weeks"],
    "UNHEALTHY_AFTER": [0, None, "1 min", float("nan")],
    "LOG_ERRORS": [None, "", "all", True],
    "TRACE_URL": [
        None,
        5,
        "jaeger",
        "https://jaeger/trace/",
        "javascript:alert('{trace_id}')",
        "https://jaeger/a b/{trace_id}",
        "https://jaeger/{trace_id}\n",
    ],
    "TRUSTED_PUBLISHERS": [None, ["relay"], {"a.b": "relay"}, {"": ["relay"]}],
    "WINDOW": [0, None],
    "BATCH_SIZE": [0, None],
    "LEASE": [0.4, None, timedelta(0)],
    "POLL_INTERVAL": [0, None],
    "NOTIFY": [None, "yes"],
    "MAX_BACKOFF": [0, -1, "1s", None, True, float("nan"), float("inf")],
    "RATE": [-1, 1.5, True, "10", None, 2**31],
}


def test_without_the_setting_every_default_is_in_force(settings):
    del settings.STRANGLER

    assert conf.current() == conf.Settings()


def test_the_settings_in_force_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        conf.current().max_attempts = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        conf.current().unroutable["#"] = "ignore"  # type: ignore[index]


def test_every_setting_has_wrong_values_in_this_test():
    assert list(WRONG) == NAMES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}-{index}")
        for name, values in WRONG.items()
        for index, value in enumerate(values)
    ],
)
def test_a_wrong_value_names_its_setting_and_says_what_is_wanted(name, value):
    given = {"RELAY": {name: value}} if name in INNER else {name: value}

    with pytest.raises(ConfigurationError, match=rf"\['{name}'\].* must be "):
        conf.parse(given)


def test_a_long_wrong_value_is_cut_off_in_the_message():
    with pytest.raises(ConfigurationError) as raised:
        conf.parse({"SOURCE": "x" * 10_000})

    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "url",
    [
        "user:secret@rabbit.example.com:5672",
        ["amqp://user:secret@rabbit", None],
        "amqp:/user:secret@rabbit",
    ],
)
def test_a_wrong_broker_url_is_never_repeated(url):
    with pytest.raises(ConfigurationError) as raised:
        conf.parse({"BROKER_URL": url})

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("BROKERURL", "BROKER_URL"),
        ("broker_url", "BROKER_URL"),
        ("RETENTON", "RETENTION"),
        ("MAX_PAYLOAD", "MAX_PAYLOAD_BYTES"),
        ("UNROUTEABLE", "UNROUTABLE"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(wrong, right):
    with pytest.raises(ConfigurationError, match=f"'{wrong}'.*Did you mean '{right}'"):
        conf.parse({wrong: "amqp://user:secret@rabbit"})


@pytest.mark.parametrize("key", ["XYZ", 1, None, ("EXCHANGE", 1)])
def test_an_unknown_key_like_no_other_lists_all_or_names_one(key):
    with pytest.raises(ConfigurationError, match=r"Known: BROKER_URL, |Did you mean "):
        conf.parse({key: 1})


@pytest.mark.parametrize("given", [[], "amqp://", 1, {("BROKER_URL", "local://")}])
def test_something_else_than_a_dict_is_refused(settings, given):
    settings.STRANGLER = given

    with pytest.raises(ConfigurationError, match="Make it a dict"):
        conf.current()


def test_a_configuration_error_is_djangos_and_ours():
    assert issubclass(ConfigurationError, ImproperlyConfigured)
    assert issubclass(ConfigurationError, StranglerError)


@pytest.mark.parametrize("days", [3 * 86400, 3 * 86400.0, timedelta(days=3)])
def test_a_duration_is_seconds_or_a_timedelta(days):
    assert conf.parse({"RETENTION": days}).retention == 259200.0


def test_one_url_and_a_list_of_them_are_read_alike():
    nodes = ["amqp://rabbit-1", "amqp://rabbit-2"]

    assert conf.parse({"BROKER_URL": nodes[0]}).broker_url == (nodes[0],)
    assert conf.parse({"BROKER_URL": nodes}).broker_url == tuple(nodes)
    assert conf.parse({"BROKER_URL": "my.Broker"}).broker_url == ("my.Broker",)


def test_unroutable_is_one_rule_for_all_or_one_by_pattern():
    by_pattern = {"audit.*": "ignore", "#": "park"}

    assert conf.parse({"UNROUTABLE": "ignore"}).unroutable == {"#": "ignore"}
    assert conf.parse({"UNROUTABLE": by_pattern}).unroutable == by_pattern


def test_overridden_settings_are_seen_at_once(settings):
    settings.STRANGLER = {"MAX_ATTEMPTS": 7}
    assert conf.current().max_attempts == 7

    settings.STRANGLER = {"MAX_ATTEMPTS": 8}
    assert conf.current().max_attempts == 8


def test_a_setting_that_is_changed_in_place_is_seen(settings):
    settings.STRANGLER = {"MAX_ATTEMPTS": 7}
    assert conf.current().max_attempts == 7

    settings.STRANGLER["MAX_ATTEMPTS"] = 8
    assert conf.current().max_attempts == 8


def test_a_wrong_setting_stays_wrong_until_it_is_mended(settings):
    settings.STRANGLER = {"MAX_ATTEMPTS": "many"}
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            conf.current()

    settings.STRANGLER["MAX_ATTEMPTS"] = 9
    assert conf.current().max_attempts == 9


def test_the_settings_are_parsed_once_until_they_change():
    assert conf.current() is conf.current()


def test_there_are_at_most_twenty_settings():
    assert len(dataclasses.fields(conf.Settings)) <= 20


@pytest.mark.parametrize("name", INNER)
def test_a_setting_of_a_relay_in_its_old_place_names_the_new_one(name):
    with pytest.raises(ConfigurationError, match=rf"STRANGLER\['RELAY'\]\['{name}'\]"):
        conf.parse({name: 1})


def test_all_settings_in_an_old_place_are_named_at_once():
    with pytest.raises(ConfigurationError) as raised:
        conf.parse({"WINDOW": 1, "LEASE": 1.0})

    assert "['WINDOW']" in str(raised.value)
    assert "['LEASE']" in str(raised.value)
