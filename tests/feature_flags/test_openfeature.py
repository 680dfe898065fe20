"""Our flags, asked for through OpenFeature."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("openfeature", reason="the extra 'openfeature' is not installed")

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from django_strangler import feature_flags
from django_strangler.feature_flags.openfeature import StranglerProvider
from django_strangler.testing.flags import override_flag

pytestmark = pytest.mark.django_db
NAME = "payments-v2"


@pytest.fixture
def client():
    api.set_provider(StranglerProvider())
    yield api.get_client()
    api.clear_providers()


def test_the_targeting_key_is_the_users_id(client):
    feature_flags.set_rollout(NAME, 95)

    for user in range(50):
        details = client.get_boolean_details(NAME, False, EvaluationContext(str(user)))
        assert details.value is feature_flags.is_enabled(NAME, user)
        assert details.variant == ("on" if details.value else "off")
        assert details.reason == Reason.SPLIT
        assert details.flag_metadata["version"]


def test_nobody_is_on_the_legacy_side(client):
    feature_flags.set_rollout(NAME, 99)

    assert client.get_boolean_value(NAME, True) is False


def test_reasons_are_those_of_openfeature(client):
    feature_flags.set_rollout(NAME, 100)
    assert client.get_boolean_details(NAME, False).reason == Reason.STATIC
    feature_flags.disable(NAME)
    assert client.get_boolean_details(NAME, True).reason == Reason.DISABLED


def test_a_flag_that_does_not_exist_is_the_default(client):
    details = client.get_boolean_details("nothing", True)

    assert details.value is True
    assert details.error_code == ErrorCode.FLAG_NOT_FOUND


def test_a_flag_is_a_boolean(client):
    feature_flags.set_rollout(NAME, 100)

    for details in (
        client.get_string_details(NAME, "x"),
        client.get_integer_details(NAME, 1),
        client.get_float_details(NAME, 1.5),
        client.get_object_details(NAME, {}),
    ):
        assert details.error_code == ErrorCode.TYPE_MISMATCH


def test_async_clients_are_served(client):
    with override_flag(NAME):
        assert asyncio.run(client.get_boolean_value_async(NAME, False)) is True
