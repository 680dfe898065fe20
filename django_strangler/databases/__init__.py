"""Databases: what connections and statements need beside what Django gives them."""

from __future__ import annotations

from .cutting import cut
from .impatient import READ_TIMEOUT, own_connection
from .statements import claim_once, execute_again, fetch, is_transient
from .transactions import (
    a_test_never_commits,
    application_transaction_is_open,
    in_transaction,
)

__all__ = [
    "READ_TIMEOUT",
    "a_test_never_commits",
    "application_transaction_is_open",
    "claim_once",
    "cut",
    "execute_again",
    "fetch",
    "in_transaction",
    "is_transient",
    "own_connection",
]
