"""Whether the application has a transaction open: one rule, for every Django."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def application_transaction_is_open(connection: BaseDatabaseWrapper) -> bool:
    """
    Whether the *application* has opened a transaction on this connection.

    The transaction that a TestCase puts around each test does not count, or a test
    could never find a missing ``atomic()``. With ATOMIC_REQUESTS it does count: there,
    in production, every view has one.
    """
    if not connection.in_atomic_block:
        # set_autocommit(False) opens one as well; a connection not yet made has none.
        return connection.connection is not None and not connection.autocommit
    if not all(map(_is_a_testcase_s, connection.atomic_blocks)):
        return True
    return bool(connection.settings_dict.get("ATOMIC_REQUESTS"))


def a_test_never_commits(connection: BaseDatabaseWrapper) -> bool:
    """Whether a TestCase's own transaction is around everything."""
    return any(map(_is_a_testcase_s, connection.atomic_blocks))


def _is_a_testcase_s(block: Any) -> bool:
    # How Django itself lets atomic(durable=True) work in a TestCase.
    return bool(block._from_testcase)
