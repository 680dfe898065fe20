"""What a subscriber leaves for after the COMMIT, where no inbox can help."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from .failures import message, to_log
from .subscribers import Subscriber

logger = logging.getLogger("django_strangler.inbox")

_warned: set[str] = set()  # Names of subscribers.


class AfterCommit:
    """
    Knows whether the transaction was committed, and who left hooks for then.

    A process that dies after the COMMIT never runs them, and the inbox says that the
    event was handled: they are run at most once.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.has_begun = False  # Whether the subscriber was called.
        self.is_committed = False  # Known if there are hooks, which may fail then.
        self._connection, self._before = connection, 0
        self._is_outermost = not connection.in_atomic_block

    def begin(self) -> None:
        """The subscriber is called now."""
        self.has_begun, self._before = True, len(self._connection.run_on_commit)

    def check(self, subscriber: Subscriber) -> None:
        """The subscriber has returned: say once if it left a hook."""
        hooks = self._connection.run_on_commit
        if len(hooks) == self._before:
            return
        if self._is_outermost:  # Inside a test's transaction no hook is run.
            # Ours before its own, so that it says when the others' turn has come.
            self._connection.on_commit(self._note)
            hooks.insert(self._before, hooks.pop())
        if subscriber.name in _warned:
            return
        if all(_is_ours(hook) for _, hook, *_ in hooks[self._before :]):
            return
        _warned.add(subscriber.name)
        logger.warning(
            "The subscriber %r leaves work to transaction.on_commit(). It is done at "
            "most once: never, if the process ends or the work fails after the COMMIT. "
            "Do it in the subscriber itself, or publish an event for it.",
            subscriber.name,
        )

    def failed(self, subscriber: Subscriber, error: BaseException) -> None:
        """A hook has raised; the effect is committed, and stays."""
        logger.error(
            "What the subscriber %r left to transaction.on_commit() failed, and is not "
            "tried again. Its effect is committed. %s: %s",
            subscriber.name,
            type(error).__name__,
            message(error),
            exc_info=to_log(error),
        )

    def _note(self) -> None:
        self.is_committed = True


def _is_ours(hook: Any) -> bool:
    while isinstance(hook, partial):
        hook = hook.func
    named = hook if hasattr(hook, "__qualname__") else type(hook)
    return str(named.__module__).startswith("django_strangler.")
