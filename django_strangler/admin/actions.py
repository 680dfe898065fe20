"""Replaying and discarding in the admin: asked first, in batches, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime

from django_strangler.outbox import replay
from django_strangler.outbox.models import OutboxEvent

from . import asking, bounded
from .bounded import Rows

BATCH = 1_000  # Events changed by one transaction.
PATIENCE = 5.0  # Seconds of work for one press of the button.
COUNTED = 100_000


class Verb(NamedTuple):
    """What can be done with events that are parked, or were confirmed."""

    name: str
    permission: str
    flag: int  # Of the admin's log.
    act: Callable[[list[int], str], int]  # On these rows of this database; how many.
    facts: tuple[str, ...]
    done: str


def _replay(rows: list[int], using: str) -> int:
    return sum(replay.replay(rows, using=using))


def _discard(rows: list[int], using: str) -> int:
    return replay.discard(rows, using=using)


REPLAY = Verb(
    "replay",
    "strangler.replay_event",
    CHANGE,
    _replay,
    (
        "What is replayed becomes pending again, and a relay sends it.",
        "It keeps its id: a subscriber that has handled it is not called again.",
    ),
    "pending again",
)
DISCARD = Verb(
    "discard",
    "strangler.discard_event",
    DELETION,
    _discard,
    ("What is discarded is deleted: nobody ever gets it, nothing brings it back.",),
    "discarded",
)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[OutboxEvent]
else:
    _ModelAdmin = admin.ModelAdmin


class ReplayAndDiscard(_ModelAdmin):
    """Pages that ask, for one event (``?event=``) or a group (``?reason=&type=``)."""

    def get_urls(self) -> list[URLPattern]:
        """One page per verb."""
        pages = [
            path(
                f"{verb.name}/",
                self.admin_site.admin_view(partial(self._page, verb=verb)),
                name=f"strangler_outboxevent_{verb.name}",
            )
            for verb in (REPLAY, DISCARD)
        ]
        return [*pages, *super().get_urls()]

    def _page(self, request: HttpRequest, verb: Verb) -> HttpResponse:
        if not request.user.has_perm(verb.permission):
            raise PermissionDenied
        if number := request.GET.get("event"):
            return self._one(request, verb, number)
        return self._group(request, verb)

    def _one(self, request: HttpRequest, verb: Verb, number: str) -> HttpResponse:
        event = self.get_object(request, number)
        if event is None:
            raise Http404
        page = asking.url(self.admin_site, "strangler_outboxevent_change", event.pk)
        if request.method != "POST":
            facts = [f"It is {event.state}.", *verb.facts]
            return self._ask(request, verb, "this event", facts, page)
        alias = router.db_for_write(OutboxEvent)
        with transaction.atomic(using=alias):
            done = verb.act([event.pk], alias)
            if done:
                self._log(request, verb, str(event), event.pk, done)
        if not done:
            self.message_user(
                request, f"Nothing was done: it is {event.state}.", messages.WARNING
            )
            return HttpResponseRedirect(page)
        self.message_user(request, f"The event {event} is {verb.done}.")
        gone = verb is DISCARD
        return HttpResponseRedirect(asking.dashboard(self.admin_site) if gone else page)

    def _group(self, request: HttpRequest, verb: Verb) -> HttpResponse:
        reason, type = request.GET.get("reason", ""), request.GET.get("type", "")
        if "\0" in reason + type:
            raise Http404  # PostgreSQL would not be asked about it.
        alias = router.db_for_write(OutboxEvent)
        rows: Rows = OutboxEvent.objects.using(alias).parked()
        rows = bounded.ordered(rows.filter(parked_reason=reason, type=type), "parked")
        group = f"events of type {type} ({reason})"
        back = asking.dashboard(self.admin_site)
        if request.method != "POST":
            newest = rows.first()
            if newest is None:
                self.message_user(
                    request, f"No {group} are parked any more.", messages.WARNING
                )
                return HttpResponseRedirect(back)
            what = f"{_counted(rows)} parked {group}"
            facts = [*verb.facts, f"The last error: {newest.last_error or 'none'}"]
            # What is parked later was not asked about.
            until = str(newest.parked_at)
            return self._ask(request, verb, what, facts, back, until)
        # The oldest first, as they were published, more or less.
        rows = rows.filter(parked_at__lte=_moment(request)).reverse()
        done = self._act(request, verb, rows, alias, group)
        self.message_user(request, f"{done:,} {group} are {verb.done}.")
        if not rows.exists():
            return HttpResponseRedirect(back)
        self.message_user(request, f"{_counted(rows)} remain.", messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())

    def _act(
        self, request: HttpRequest, verb: Verb, rows: Rows, alias: str, group: str
    ) -> int:
        done, entry = 0, None
        deadline = time.monotonic() + PATIENCE
        while batch := list(rows.values_list("pk", "parked_at")[:BATCH]):
            # With its line in the log: neither is there without the other.
            with transaction.atomic(using=alias):
                count = verb.act(sorted(pk for pk, _ in batch), alias)
                done += count
                entry = self._log(request, verb, group, None, done, entry)
            if not count or time.monotonic() > deadline:
                break
            # Other groups' rows that were passed over are not passed over again.
            rows = rows.filter(parked_at__gte=batch[-1][1])
        return done

    def _log(
        self,
        request: HttpRequest,
        verb: Verb,
        what: str,
        id: int | None,
        done: int,
        entry: LogEntry | None = None,
    ) -> LogEntry:
        entry = entry or LogEntry(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(OutboxEvent),
            object_id=None if id is None else str(id),
            object_repr=what[:200],
            action_flag=verb.flag,
        )
        entry.change_message = f"{verb.name}: {done:,} {what}"
        entry.save()
        return entry

    def _ask(
        self,
        request: HttpRequest,
        verb: Verb,
        what: str,
        facts: list[str],
        back: str,
        until: str = "",
    ) -> HttpResponse:
        return asking.ask(
            self.admin_site,
            request,
            question=f"{verb.name.capitalize()} {what}?",
            facts=facts,
            yes=f"Yes, {verb.name}",
            back=back,
            hidden={"until": until},
        )


def _moment(request: HttpRequest) -> datetime:
    with suppress(OverflowError, ValueError):
        if moment := parse_datetime(request.POST.get("until", "")):
            # SQLite compares text: a whole second is shorter as Django writes it, and
            # so less.
            return moment + timedelta(milliseconds=1)
    raise BadRequest("until is no time.")


def _counted(rows: Rows) -> str:
    count: Any = rows.order_by()[:COUNTED].count()
    return f"{count:,} or more" if count == COUNTED else f"{count:,}"
