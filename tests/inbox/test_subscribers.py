"""Registering subscribers: what is refused, and how they are found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from django.test import override_settings

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.exceptions import InvalidSubscriber
from django_strangler.inbox.subscribers import Registry


def test_a_subscriber_is_bound_by_its_patterns(registry):
    @subscribe("payment.*", "user.signup", name="receipts")
    def receive(event: Event) -> None: ...

    assert [each.name for each in registry.bound_to("payment.completed")] == [
        "receipts"
    ]
    assert [each.name for each in registry.bound_to("user.signup")] == ["receipts"]
    assert registry.bound_to("user.password-reset") == []
    assert registry.bound_to("payment.card.charged") == []


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"flag-notifications-v2": "on"}, True),
        ({"flag-notifications-v2": "off"}, False),
        ({"flag-notifications-v2": True}, False),
        ({}, False),
    ],
)
def test_a_flag_admits_only_events_that_were_decided_on(registry, headers, wanted):
    @subscribe("payment.*", name="receipts", flag="notifications-v2")
    def receive(event: Event) -> None: ...

    (subscriber,) = registry.all()

    assert subscriber.wants(headers) is wanted


def test_the_function_stays_a_plain_function(registry):
    @subscribe("payment.*", name="receipts")
    def receive(event: Event) -> str:
        return "called"

    assert receive(Event(type="payment.completed", payload={})) == "called"


def test_an_async_function_is_refused(registry):
    with pytest.raises(InvalidSubscriber, match="async_to_sync"):

        @subscribe("payment.*", name="receipts")
        async def receive(event: Event) -> None: ...


def test_an_object_with_an_async_call_is_refused(registry):
    class Receive:
        async def __call__(self, event: Event) -> None: ...

    with pytest.raises(InvalidSubscriber, match="async"):
        subscribe("payment.*", name="receipts")(Receive())


def test_a_duplicate_name_is_refused_naming_both(registry):
    @subscribe("payment.*", name="receipts")
    def first(event: Event) -> None: ...

    with pytest.raises(InvalidSubscriber, match=r"first.*second"):

        @subscribe("payment.*", name="receipts")
        def second(event: Event) -> None: ...


def test_the_same_function_again_is_no_duplicate(registry):
    def receive(event: Event) -> None: ...

    subscribe("payment.*", name="receipts")(receive)
    subscribe("payment.*", name="receipts")(receive)

    assert len(registry.all()) == 1


@pytest.mark.parametrize(
    "pattern", ["", "payment..x", "payment.*x", ".payment", "a b", "pay/ment", None, 3]
)
def test_a_bad_pattern_is_refused(registry, pattern):
    with pytest.raises(InvalidSubscriber, match="receipts"):
        subscribe(pattern, name="receipts")


@pytest.mark.parametrize("name", ["", "Receipts", "a b", "x" * 101, None])
def test_a_bad_name_is_refused(registry, name):
    with pytest.raises(InvalidSubscriber, match="name"):
        subscribe("payment.*", name=name)


def test_no_pattern_is_refused(registry):
    with pytest.raises(InvalidSubscriber, match="at least one"):
        subscribe(name="receipts")


def test_the_monoliths_subscribers_are_found_in_its_apps():
    from django_strangler.inbox.subscribers import registry

    assert {"receipts", "activity"} <= {each.name for each in registry.all()}
    assert registry.broken_modules == {}


def test_a_module_that_fails_to_import_is_named_and_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    app = tmp_path / "brokenapp"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "subscribers.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry()
    monkeypatch.setattr("django_strangler.inbox.subscribers.registry", registry)
    for module in ("notifications.subscribers", "reporting.subscribers"):
        monkeypatch.delitem(sys.modules, module, raising=False)

    from django.conf import settings

    with override_settings(INSTALLED_APPS=["brokenapp", *settings.INSTALLED_APPS]):
        names = {each.name for each in registry.all()}

    assert "receipts" in names
    assert "no_such_module_anywhere" in registry.broken_modules["brokenapp.subscribers"]
    assert "brokenapp.subscribers cannot be imported" in caplog.text
