"""
Lanes under lease: which slices of the keys this relay may drain, and until when.

Live steady relays divide the lanes evenly. A relay has one row with one lease; a lane's
row only names its holder. So a renewal is one statement, whatever the number of lanes,
and relays of other versions and settings can read how long the lease is, and whose.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q, QuerySet

from django_strangler.clock import seconds_until_sql, since_boot
from django_strangler.holding import FORGET_AFTER, GRACE, Hold

from .held import Suspension
from .lanes import LANES
from .models import HeldType, Lane, Pause, RelayProcess

logger = logging.getLogger("django_strangler.outbox.leases")

LOOK_INTERVAL = 1.8  # Lanes that others gave back, or want, are found within 2 s.


class LaneChange(NamedTuple):
    """Lanes that came and went."""

    lost: frozenset[int]
    gained: frozenset[int]


class Other(NamedTuple):
    """Another relay's row."""

    token: UUID
    steady: bool
    left: float  # Seconds until its lease runs out; what is not valid has 0 or less.


class LeftOut(NamedTuple):
    """What is held, and what is paused, when the lanes were looked at."""

    types: dict[str, Suspension]
    paused_types: frozenset[str]
    paused_keys: frozenset[str]
    everything: bool


class Leases:
    """The lanes of this relay, as long as its hold is valid."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        *,
        length: float,
        steady: bool = True,
        monotonic: Callable[[], float] = since_boot,
    ) -> None:
        self.steady = steady
        self._connection = connection
        self._alias = connection.alias
        self._monotonic = monotonic
        self._hold = Hold(
            self._relays,
            length=length,
            values={"steady": steady},
            monotonic=monotonic,
        )
        self.name = self._hold.name
        self.lanes: frozenset[int] = frozenset()
        # To be given back once they are quiet.
        self.leaving: frozenset[int] = frozenset()
        self.held_by_others = 0
        self.seen: LeftOut | None = None  # By the last look; the relay takes it.
        self._told = (self.token, self.lanes)  # What the caller knows of.
        self._look_at = 0.0

    @property
    def token(self) -> UUID:
        """What the lanes of this relay name; another one after each lapse."""
        return self._hold.token

    @property
    def is_valid(self) -> bool:
        """Whether the lease still holds, by this process's own clock."""
        return self._hold.is_valid

    @property
    def seconds_at_rest(self) -> float:
        """For how long ``keep`` has nothing to do."""
        return max(0.0, min(self._hold.renew_at, self._look_at) - self._monotonic())

    def keep(self) -> LaneChange:
        """Renew what is due and look at the others now and then."""
        if not self._hold.keep():
            # Paused, or the database was away: another relay may have the lanes.
            self._forget()
        if self._monotonic() >= self._look_at:
            self._look()
        token, before = self._told
        self._told = (self.token, self.lanes)
        # After a lapse nothing is as it was, even where the lanes came back.
        kept = self.lanes & before if token == self.token else frozenset[int]()
        return LaneChange(before - kept, self.lanes - kept)

    def look_again(self) -> None:
        """Another relay seems to know better: look at the next opportunity."""
        self._look_at = 0.0

    def give_back(self, lanes: frozenset[int]) -> None:
        """Release these lanes now."""
        self._lanes().filter(number__in=lanes, relay=self.token).update(relay=None)
        self.lanes -= lanes
        self.leaving -= lanes
        self._told = (self.token, self.lanes)

    def leave(self) -> None:
        """Release everything at once."""
        # After a lapse there is nothing to release, and perhaps no database to ask.
        if self.lanes and self.is_valid:
            self._lanes().filter(relay=self.token).update(relay=None)
        self._hold.leave()
        self._forget()

    def _forget(self) -> None:
        self.lanes = self.leaving = frozenset()
        self._look_at = 0.0

    # The lanes

    def _look(self) -> None:
        """See who lives and who holds what; take what is due to us, or plan to give."""
        looked = self._monotonic()
        holders, others = self._read()
        if len(holders) < LANES:
            missing = [Lane(number=n) for n in range(LANES) if n not in holders]
            self._lanes().bulk_create(missing, ignore_conflicts=True)
            holders, others = self._read()
        live = [other for other in others if other.left > -GRACE]
        interval = min(LOOK_INTERVAL, self._hold.length / 4)
        if live:
            # So that a dead one's lanes are taken over as soon as they may be.
            soonest = min(other.left for other in live) + GRACE
            interval = min(interval, soonest + 0.01)
        self._look_at = looked + interval
        self._divide(holders, live)

    def _divide(self, holders: dict[int, UUID | None], live: list[Other]) -> None:
        tokens = {other.token for other in live} | {self.token}
        self.lanes = frozenset(n for n, h in holders.items() if h == self.token)
        self.leaving &= self.lanes
        free = [n for n, h in holders.items() if h not in tokens]
        self.held_by_others = LANES - len(self.lanes) - len(free)
        steady = {other.token for other in live if other.steady}
        share = self._share(steady) if self.steady else LANES
        staying = self.lanes - self.leaving
        if len(staying) > share:
            # The highest first, so that two looks choose alike.
            self.leaving |= frozenset(sorted(staying)[share:])
        elif len(staying) < share:
            wanted = frozenset(sorted(self.leaving)[: share - len(staying)])
            self.leaving -= wanted
            self._claim(free[: share - len(staying) - len(wanted)], holders)

    def _share(self, steady: set[UUID]) -> int:
        """How many lanes are ours when live steady relays divide them evenly."""
        tokens = sorted(steady | {self.token})
        share, left = divmod(LANES, len(tokens))
        return share + (tokens.index(self.token) < left)

    def _claim(self, free: list[int], holders: dict[int, UUID | None]) -> None:
        if not free:
            return
        # Compared with what was seen: of two that claim a lane, one gets it.
        dead = {holder for number in free if (holder := holders[number]) is not None}
        claimed = (
            self._lanes()
            .filter(Q(relay=None) | Q(relay__in=dead), number__in=free)
            .update(relay=self.token)
        )
        if claimed:
            mine = self._lanes().filter(relay=self.token)
            self.lanes = frozenset(mine.values_list("number", flat=True))
            logger.info(
                "%s drains %d of %d lanes",
                self.name,
                len(self.lanes),
                LANES,
                extra={"relay": self.name},
            )

    def _read(self) -> tuple[dict[int, UUID | None], list[Other]]:
        """Lanes, relays, what is held and what is paused, in one statement."""
        quote = self._connection.ops.quote_name
        left, since, probe = (
            seconds_until_sql(self._connection, column)
            for column in ("expires_at", "since", "probe_at")
        )
        tables = [
            quote(model._meta.db_table)
            for model in (Lane, RelayProcess, HeldType, Pause)
        ]
        looked = self._monotonic()
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT number, relay, NULL, NULL, NULL, -1, NULL, NULL, NULL "
                f"FROM {tables[0]} UNION ALL "
                f"SELECT NULL, token, steady, length, {left}, -1, NULL, NULL, NULL "
                f"FROM {tables[1]} UNION ALL "
                f"SELECT NULL, NULL, parks, {since}, {probe}, tries, type, cause, "
                f"reason FROM {tables[2]} UNION ALL "
                "SELECT NULL, NULL, NULL, NULL, NULL, -1, name, scope, NULL "
                f"FROM {tables[3]} WHERE ended_at IS NULL",
                [],
            )
            rows = cursor.fetchall()
        holders: dict[int, UUID | None] = {}
        others = []
        types: dict[str, Suspension] = {}
        paused: dict[str, set[str]] = defaultdict(set)
        for number, token, flag, length, left, tries, name, word, reason in rows:
            uuid = None if token is None else UUID(str(token))
            if number is not None:
                holders[number] = uuid
            elif tries >= 0:
                types[name] = Suspension(
                    cause=word,
                    reason=reason,
                    since=looked + float(length),
                    probe_at=looked + float(left),
                    tries=tries,
                    parks=bool(flag),
                )
            elif word is not None:
                paused[word].add(name)
            elif uuid is not None and uuid != self.token:
                # A lease that ends later than it can was written by another clock.
                valid = float(left) <= float(length) + GRACE
                others.append(
                    Other(uuid, bool(flag), float(left) if valid else -FORGET_AFTER)
                )
        self.seen = LeftOut(
            types,
            frozenset(paused[Pause.Scope.TYPE]),
            frozenset(paused[Pause.Scope.KEY]),
            Pause.Scope.ALL in paused,
        )
        return dict(sorted(holders.items())), others

    def _lanes(self) -> QuerySet[Lane]:
        return Lane.objects.using(self._alias)

    def _relays(self) -> QuerySet[RelayProcess]:
        return RelayProcess.objects.using(self._alias)
