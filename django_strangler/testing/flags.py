"""Flags in tests."""

from __future__ import annotations

from django.test.utils import TestContextDecorator

from django_strangler.feature_flags import evaluation


class override_flag(TestContextDecorator):
    """
    Let a flag be on or off for everybody, in the whole process and without a database.

    For a ``with`` block, a test, or a ``TestCase`` class. Inside one another, the inner
    one counts.
    """

    def __init__(self, name: str, enabled: bool = True) -> None:
        self.name = name
        self.enabled = bool(enabled)
        self._outer: list[bool | None] = []  # A decorated function may call itself.
        super().__init__()

    def enable(self) -> None:
        self._outer.append(evaluation.overrides.get(self.name))
        evaluation.overrides[self.name] = self.enabled

    def disable(self) -> None:
        outer = self._outer.pop()
        if outer is None:
            del evaluation.overrides[self.name]
        else:
            evaluation.overrides[self.name] = outer
