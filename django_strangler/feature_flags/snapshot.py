"""
All flags, as this process knows them.

Nothing runs in the background. A check that finds the snapshot older than
``FLAG_REFRESH`` compares the stamp, one query, and reads the flags again only if it is
another. Workers that were forked inherit the snapshot and look for themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

from django.core.signals import setting_changed
from django.db import Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate

from django_strangler import conf
from django_strangler.databases import in_transaction
from django_strangler.exceptions import StranglerError

from . import ramps, rules
from .buckets import threshold
from .gates import Rules, Snapshot
from .models import Flag, FlagVersion
from .own_changes import (
    has_changed_flags,
    last_change,
    own,
    sees_the_latest,
)

logger = logging.getLogger("django_strangler.feature_flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all threads share: one value, so that they never see half of a refresh."""

    snapshot: Snapshot | None = None
    until: float = 0.0  # On the monotonic clock.
    after: object = None  # The change of our own that it includes.


class _State:
    view = Shared()
    failing = False
    refreshing = threading.Lock()


_state = _State()


def current() -> Snapshot | None:
    """The flags now; None if none could ever be read."""
    now = monotonic()
    if own.connection is None:
        view = _state.view
        if now < view.until and view.after is last_change.token:
            return view.snapshot
    elif own.hooks is own.connection.run_on_commit and now < own.until:
        return own.snapshot
    return _look_again(now)


def _look_again(now: float) -> Snapshot | None:
    connection = connections[router.db_for_write(Flag)]
    changed = has_changed_flags(connection)
    if own.changed and not changed:
        last_change.now()  # It is over; whether it committed, reading tells.
    if changed or not sees_the_latest(connection):
        return _for_this_transaction(connection, now, changed=changed)
    own.forget()
    return _for_all(connection, now)


def _for_this_transaction(
    connection: BaseDatabaseWrapper, now: float, *, changed: bool
) -> Snapshot | None:
    """What only this transaction may see, or all that it can still see."""
    view = _state.view
    if not changed and now < view.until and view.after is last_change.token:
        own.forget()
        return view.snapshot
    known = own.snapshot or view.snapshot
    own.snapshot = _read_or(known, connection)
    own.connection, own.changed = connection, changed
    own.hooks = connection.run_on_commit
    own.until = now + conf.current().flag_refresh
    return own.snapshot


def _for_all(connection: BaseDatabaseWrapper, now: float) -> Snapshot | None:
    known, after = _state.view, last_change.token
    # Never waited for: whoever holds it may be waiting for a database that is gone.
    lock = _state.refreshing
    if not lock.acquire(blocking=False):
        if known.snapshot is not None and known.after is after:
            return known.snapshot
        return _read_or(known.snapshot, connection)
    try:
        known = _state.view
        if now < known.until and known.after is after:  # Another thread was faster.
            return known.snapshot
        snapshot = _read_or(known.snapshot, connection)
        _state.view = Shared(
            snapshot=snapshot, until=now + conf.current().flag_refresh, after=after
        )
        return snapshot
    finally:
        lock.release()


def _read_or(
    known: Snapshot | None, connection: BaseDatabaseWrapper
) -> Snapshot | None:
    try:
        snapshot = _read(connection, known)
    except Error as error:
        _failed(error)
        return known
    if _state.failing:
        _state.failing = False
        logger.info("The flags can be read again.")
    return snapshot


def _failed(error: Error) -> None:
    if _state.failing:
        return
    _state.failing = True
    logger.warning(
        "The flags cannot be read (%s). Checks get the last known answers, or their "
        "default= if there are none. This is said once, until it works again.",
        error,
    )


def _read(connection: BaseDatabaseWrapper, known: Snapshot | None) -> Snapshot:
    with _undisturbed(connection):
        # The stamp first: if a change comes in between, the next look finds another.
        stamp = FlagVersion.objects.using(connection.alias).stamp()
        if known is not None and known.stamp == stamp:
            return known
        flags = {}
        for flag in Flag.objects.using(connection.alias):
            with _survived(flag):
                flags[flag.name] = _rules(flag)
        return Snapshot(stamp=stamp, flags=flags)


@contextlib.contextmanager
def _undisturbed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Leave the connection, and the caller's transaction, as they were found."""
    if in_transaction(connection):
        if connection.needs_rollback:
            raise transaction.TransactionManagementError("the transaction is broken")
        # A savepoint: on PostgreSQL, a query that fails ends the transaction.
        with transaction.atomic(using=connection.alias):
            yield
        return
    opened = connection.connection is None
    try:
        yield
    except Error:
        # Outside of requests, nobody else drops a connection that has died.
        if connection.connection is not None and not connection.is_usable():
            connection.close()
        raise
    finally:
        # A server that checks a flag before it forks must not share its connection.
        if opened:
            connection.close()


@contextlib.contextmanager
def _survived(flag: Flag) -> Iterator[None]:
    """One row that was broken by hand is no reason to lose the others."""
    try:
        yield
    except StranglerError:
        logger.exception("The flag %r cannot be used.", flag.name)


def _rules(flag: Flag) -> Rules:
    percentage = flag.percentage
    steps: tuple[tuple[float, int], ...] = ()
    if flag.ramp is not None:
        ramp = ramps.from_json(flag.ramp)
        if ramp.held_at is None:
            steps = tuple(
                (step.at.timestamp(), threshold(step.percentage))
                for step in ramp.steps[: ramp.opened]
            )
        else:
            percentage = flag.rollout()
    return Rules(
        enabled=flag.enabled,
        salt=flag.salt,
        threshold=threshold(percentage),
        excluded=rules.stored_ids(flag.excluded),
        included=rules.stored_ids(flag.included),
        steps=steps,
    )


def _forked() -> None:
    # The thread that held it may not exist here.
    _state.refreshing = threading.Lock()


def _everything_may_be_different(*, setting: str = "", **kwargs: Any) -> None:
    if setting in ("", "STRANGLER", "DATABASE_ROUTERS"):
        last_change.now()
        own.until = 0.0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
setting_changed.connect(_everything_may_be_different)
# Also after a flush: a TransactionTestCase leaves nothing to the next.
post_migrate.connect(_everything_may_be_different)
