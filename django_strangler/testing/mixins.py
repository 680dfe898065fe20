"""What the pytest plugin offers, for ``TestCase`` classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from django_strangler.events import JSON, Event, Header, Key

from .published import ANYTHING, PublishedEvents


class PublishedEventsMixin:
    """
    ``self.assert_published("payment.completed", key=payment)``.

    For Django's ``TestCase`` and ``TransactionTestCase``. To let a single test, or a
    whole class, publish outside of ``atomic()``, decorate it with
    ``autocommit_allowed()``.
    """

    @cached_property
    def published_events(self) -> PublishedEvents:
        """What this test has published so far, oldest first."""
        return PublishedEvents()

    def assert_published(
        self,
        type: object,
        *,
        key: Key = ANYTHING,
        payload: JSON = ANYTHING,
        headers: Mapping[str, Header] = ANYTHING,
        correlation_id: str = ANYTHING,
        count: int | None = None,
    ) -> Event:
        """Fail unless such an event was published; return the first one."""
        return self.published_events.assert_published(
            type,
            key=key,
            payload=payload,
            headers=headers,
            correlation_id=correlation_id,
            count=count,
        )

    def assert_not_published(self, type: str | type, *, key: Key = ANYTHING) -> None:
        """Fail if such an event was published; the type may be a pattern."""
        self.published_events.assert_not_published(type, key=key)
