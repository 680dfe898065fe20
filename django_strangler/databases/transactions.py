"""Whether a transaction is open: one rule, for every Django."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether a query would be part of a transaction; asked without connecting."""
    if connection.in_atomic_block:
        return True
    # set_autocommit(False) opens one as well; a connection not yet made has none.
    return connection.connection is not None and not connection.autocommit


def application_transaction_is_open(connection: BaseDatabaseWrapper) -> bool:
    """
    Whether the *application* has opened a transaction on this connection.

    The transaction that a TestCase puts around each test does not count, or a test
    could never find a missing ``atomic()``. Not with ATOMIC_REQUESTS either: a view
    that is called through the test client has a transaction of its own, and a task has
    none.
    """
    if not connection.in_atomic_block:
        return in_transaction(connection)
    return not all(map(_is_a_testcase_s, connection.atomic_blocks))


def a_test_never_commits(connection: BaseDatabaseWrapper) -> bool:
    """Whether a TestCase's own transaction is around everything."""
    return any(map(_is_a_testcase_s, connection.atomic_blocks))


def _is_a_testcase_s(block: Any) -> bool:
    # How Django itself lets atomic(durable=True) work in a TestCase.
    return bool(block._from_testcase)
