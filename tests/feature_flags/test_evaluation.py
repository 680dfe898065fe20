"""What is seen of a check: traces, counters, logs."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider

import django_strangler
from django_strangler import feature_flags
from django_strangler.feature_flags import Decision, evaluation
from django_strangler.testing.flags import override_flag

pytestmark = pytest.mark.django_db


def test_a_decision_is_its_truth_and_its_reason():
    feature_flags.set_rollout("payments-v2", 95)

    decision = feature_flags.evaluate("payments-v2", 42)

    assert decision
    assert decision == Decision(
        name="payments-v2",
        enabled=True,
        reason="percentage",
        bucket=4048139617,
        version=decision.version,
    )
    assert decision.version
    assert not feature_flags.evaluate("payments-v2", None)


def test_the_version_changes_with_the_flags():
    feature_flags.set_rollout("a", 1)
    before = feature_flags.evaluate("a", 1).version
    assert feature_flags.evaluate("a", 2).version == before

    feature_flags.set_rollout("a", 2)

    assert feature_flags.evaluate("a", 1).version != before


def test_a_flag_that_does_not_exist_is_its_default(caplog):
    for _ in range(3):
        assert not feature_flags.is_enabled("nothing", 1)
        assert feature_flags.is_enabled("nothing", 1, default=True)
        assert feature_flags.evaluate("nothing", 1).reason == "unknown"

    assert [each for each in caplog.messages if "no flag 'nothing'" in each] == [
        "There is no flag 'nothing', so checks get their default=. This is said once. "
        "Create it with: manage.py flag set nothing 0"
    ]


def test_a_flag_that_is_deleted_while_used_is_its_default():
    feature_flags.set_rollout("a", 100)
    assert feature_flags.is_enabled("a", 1)
    django_strangler.models.Flag.objects.all().delete()

    assert not feature_flags.is_enabled("a", 1)
    assert feature_flags.is_enabled("a", 1, default=True)


def test_answers_are_counted_by_flag_and_outcome():
    feature_flags.set_rollout("a", 100)
    feature_flags.set_rollout("b", 0)
    for _ in range(3):
        feature_flags.is_enabled("a", 1)
    feature_flags.evaluate("b", 1)
    feature_flags.is_enabled("c", 1, default=True)

    assert feature_flags.counts() == {
        ("a", "on"): 3,
        ("b", "off"): 1,
        ("c", "default"): 1,
    }


def test_names_that_a_program_makes_up_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_UNKNOWN", 10)
    for number in range(50):
        feature_flags.is_enabled(f"made-up-{number}", 1)

    assert len(feature_flags.counts()) == 10 + 1
    assert feature_flags.counts()["others", "default"] == 40
    assert len(evaluation._unknown) == 10


@pytest.mark.parametrize(
    ("percentage", "variant", "reason"),
    [(100, "on", "static"), (0, "off", "static"), (95, "on", "split")],
)
def test_an_answer_is_an_event_on_the_current_span(percentage, variant, reason):
    feature_flags.set_rollout("payments-v2", percentage)
    tracer = TracerProvider().get_tracer("test")

    with tracer.start_as_current_span("view") as span:
        feature_flags.is_enabled("payments-v2", 42)
        feature_flags.evaluate("payments-v2", 42)

    events = [event for event in span.events if event.name.startswith("feature_flag")]
    assert [event.name for event in events] == ["feature_flag.evaluation"] * 2
    assert dict(events[0].attributes) == {
        "feature_flag.key": "payments-v2",
        "feature_flag.result.variant": variant,
        "feature_flag.result.reason": reason,
        "feature_flag.provider.name": "django-strangler",
    }


def test_the_event_tells_the_answer_that_was_given():
    tracer = TracerProvider().get_tracer("test")

    with tracer.start_as_current_span("view") as span:
        feature_flags.is_enabled("nothing", 42, default=True)

    assert span.events[0].attributes["feature_flag.result.variant"] == "on"


def test_an_override_needs_no_flag():
    with override_flag("nothing"):
        assert feature_flags.is_enabled("nothing", None)


def test_the_package_has_flags_at_hand():
    assert django_strangler.feature_flags is feature_flags
