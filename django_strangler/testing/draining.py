"""Delivering, inside a test, what was published in it."""

from __future__ import annotations

from dataclasses import replace

from django_strangler import conf
from django_strangler.inbox.local import LocalBroker
from django_strangler.outbox.relay import Relay, Totals


def drain(*, using: str | None = None, raise_errors: bool = True) -> Totals:
    """
    Deliver what was published to this process's subscribers, and what they publish.

    Works inside a TestCase's transaction, and with any BROKER_URL. The first error
    that a subscriber raised is raised here, after all others had their events; with
    ``raise_errors=False`` it is left to the outbox, as in production.
    """
    settings = replace(conf.current(), broker_url=("local://",))
    broker = LocalBroker(settings.broker_url, settings)
    errors: list[BaseException] = []
    if raise_errors:
        broker.on_error = lambda subscriber, error, event: errors.append(error)
    totals = Relay(using, broker=broker, settings=settings, steady=False).drain()
    if errors:
        raise errors[0]
    return totals
