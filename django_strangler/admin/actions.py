"""Replaying and discarding in the admin: asked first, in batches, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern

from django_strangler.outbox import cancelling, replay
from django_strangler.outbox.models import OutboxEvent

from . import asking, bounded
from .bounded import Rows
from .readonly import ReadOnlyAdmin

BATCH = 1_000  # Events changed by one transaction.
PATIENCE = 5.0  # Seconds of work for one press of the button.
COUNTED = 100_000
SELECTED = 100  # Events that are named one by one: so many fit into an address.


class EventVerb(NamedTuple):
    """What can be done with events that are parked, or were confirmed."""

    name: str
    permission: str
    flag: int  # Of the admin's log.
    act: Callable[..., int]  # On these rows, ``using`` a database; says how many.
    facts: tuple[str, ...]
    done: str


def _replay(rows: list[int], *, using: str) -> int:
    return sum(replay.replay(rows, using=using))


REPLAY = EventVerb(
    "replay",
    "strangler.replay_event",
    CHANGE,
    _replay,
    (
        "A replayed event becomes pending again, and a relay sends it.",
        "It keeps its id: a subscriber that has handled it is not called again.",
    ),
    "pending again",
)
DISCARD = EventVerb(
    "discard",
    "strangler.discard_event",
    DELETION,
    replay.discard,
    ("A discarded event is deleted. It is never delivered, and cannot be restored.",),
    "discarded",
)


CANCEL = EventVerb(
    "cancel",
    "strangler.cancel_event",
    DELETION,
    cancelling.cancel_rows,
    (
        "A delayed event that is cancelled is deleted, and never sent.",
        "One whose time has come meanwhile is sent all the same.",
    ),
    "cancelled",
)
VERBS = (REPLAY, DISCARD, CANCEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The events that a page is about: one, some, or a group of parked ones."""

    rows: Rows
    which: str  # In words that follow on "events", or an event's own.
    event: OutboxEvent | None = None  # If it is just one.

    def counted(self, count: int, *, more: bool = False, state: str = "") -> str:
        """So many of them, as the page and the log have it."""
        if self.event:
            return f"{count:,} {self.which}"
        words = [f"{count:,}", *(["or more"] if more else []), *([state] * bool(state))]
        return f"{' '.join(words)} event{'' if count == 1 else 's'} {self.which}"


def _action(verb: EventVerb) -> Callable[..., HttpResponse]:
    @admin.action(description=f"{verb.name.capitalize()}…", permissions=[verb.name])
    def lead_to_the_page_that_asks(
        self: ReplayAndDiscard, request: HttpRequest, queryset: Rows
    ) -> HttpResponse:
        return self._ask_about(request, queryset, verb)

    return lead_to_the_page_that_asks


def _permission(verb: EventVerb) -> Callable[..., bool]:
    return lambda _, request: bool(request.user.has_perm(verb.permission))


class ReplayAndDiscard(ReadOnlyAdmin):
    """Pages that ask, for events (``?event=``) or a group (``?reason=&type=``)."""

    actions = [f"{verb.name}_selected" for verb in VERBS]
    replay_selected, discard_selected, cancel_selected = map(_action, VERBS)
    has_replay_permission = _permission(REPLAY)
    has_discard_permission = _permission(DISCARD)
    has_cancel_permission = _permission(CANCEL)

    def get_urls(self) -> list[URLPattern]:
        """One page per verb."""
        pages = asking.pages(self, VERBS, self._page)
        return [*pages, *super().get_urls()]

    def _ask_about(
        self, request: HttpRequest, rows: Rows, verb: EventVerb
    ) -> HttpResponseRedirect:
        ids = list(rows.values_list("pk", flat=True)[: SELECTED + 1])
        if len(ids) > SELECTED:
            self.message_user(
                request,
                f"These are the first {SELECTED}. Whole groups of parked events are on "
                "the app's page.",
                messages.WARNING,
            )
        page = asking.url(self.admin_site, f"strangler_outboxevent_{verb.name}")
        query = urlencode([("event", each) for each in ids[:SELECTED]])
        return HttpResponseRedirect(f"{page}?{query}")

    def _page(self, request: HttpRequest, verb: EventVerb) -> HttpResponse:
        if not request.user.has_perm(verb.permission):
            raise PermissionDenied
        alias = router.db_for_write(OutboxEvent)
        ids = request.GET.getlist("event")
        if verb is CANCEL and not ids:
            raise Http404  # A group is one of parked events.
        chosen = self._named(request, ids) if ids else _group(request, alias)
        back = self._way_back(chosen)
        if request.method == "POST":
            return self._do(request, verb, chosen, alias, back)
        newest = chosen.rows.first()
        if newest is None:
            self.message_user(request, _none_left(chosen), messages.WARNING)
            return HttpResponseRedirect(back)
        if chosen.event:
            what, first = "this event", f"It is {chosen.event.state}."
        else:
            count, more = _counted(chosen.rows)
            state = "" if ids else "parked"
            what = chosen.counted(count, more=more, state=state)
            first = f"The last error: {newest.last_error or 'none'}"
        return asking.ask(
            self.admin_site,
            request,
            question=f"{verb.name.capitalize()} {what}?",
            facts=[first, *verb.facts],
            yes=f"Yes, {verb.name}",
            back=back,
            # What is parked later was not asked about.
            hidden={"until": "" if ids else str(newest.parked_at)},
            is_harmful=verb.flag == DELETION,
        )

    def _named(self, request: HttpRequest, ids: Sequence[str]) -> Asked:
        if len(ids) == 1:
            event = self.get_object(request, ids[0])
            if event is None:
                raise Http404
            rows = self.get_queryset(request).filter(pk=event.pk)
            return Asked(rows=rows, which=str(event), event=event)
        if not all(each.isdecimal() and len(each) < 19 for each in ids):
            raise Http404
        rows = self.get_queryset(request).filter(pk__in=ids[:SELECTED])
        return Asked(rows=rows.order_by("-id"), which="that were selected")

    def _way_back(self, chosen: Asked) -> str:
        if chosen.event:
            page = "strangler_outboxevent_change"
            return asking.url(self.admin_site, page, chosen.event.pk)
        return asking.dashboard(self.admin_site)

    def _do(
        self,
        request: HttpRequest,
        verb: EventVerb,
        chosen: Asked,
        alias: str,
        back: str,
    ) -> HttpResponse:
        rows = chosen.rows
        is_group = not request.GET.getlist("event")
        if is_group:
            # The oldest first, as they were published, more or less.
            rows = rows.filter(parked_at__lte=asking.until(request)).reverse()
        done = self._act(request, verb, rows, alias, chosen)
        if event := chosen.event:
            if not done:
                text = f"Nothing was done: it is {event.state}."
                self.message_user(request, text, messages.WARNING)
                return HttpResponseRedirect(back)
            self.message_user(request, f"The event {event} is {verb.done}.")
            home = asking.dashboard(self.admin_site)
            return HttpResponseRedirect(home if verb.flag == DELETION else back)
        are = "is" if done == 1 else "are"
        self.message_user(request, f"{chosen.counted(done)} {are} {verb.done}.")
        if not is_group or not rows.exists():
            return HttpResponseRedirect(back)
        left, more = _counted(rows)
        text = f"{left:,}{' or more' if more else ''} remain."
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())

    def _act(
        self,
        request: HttpRequest,
        verb: EventVerb,
        rows: Rows,
        alias: str,
        chosen: Asked,
    ) -> int:
        done, entry = 0, None
        deadline = time.monotonic() + PATIENCE
        while batch := list(rows.values_list("pk", "parked_at")[:BATCH]):
            # With its line in the log: neither is there without the other.
            with transaction.atomic(using=alias):
                count = verb.act(sorted(pk for pk, _ in batch), using=alias)
                done += count
                if count:
                    entry = self._log(request, verb, chosen, done, entry)
            last = batch[-1][1]
            if not count or last is None or time.monotonic() > deadline:
                break
            # Other groups' rows that were passed over are not passed over again.
            rows = rows.filter(parked_at__gte=last)
        return done

    def _log(
        self,
        request: HttpRequest,
        verb: EventVerb,
        chosen: Asked,
        done: int,
        entry: LogEntry | None,
    ) -> LogEntry:
        entry = entry or LogEntry(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(OutboxEvent),
            object_id=str(chosen.event.pk) if chosen.event else None,
            object_repr=f"{'' if chosen.event else 'events '}{chosen.which}"[:200],
            action_flag=verb.flag,
        )
        entry.change_message = f"{verb.name}: {chosen.counted(done)}"
        entry.save()
        return entry


def _group(request: HttpRequest, alias: str) -> Asked:
    reason, type = request.GET.get("reason", ""), request.GET.get("type", "")
    if "\0" in reason + type:
        raise Http404  # PostgreSQL would not be asked about it.
    rows: Rows = OutboxEvent.objects.using(alias).parked()
    rows = bounded.ordered(rows.filter(parked_reason=reason, type=type), "parked")
    return Asked(rows=rows, which=f"of type {type} ({reason})")


def _none_left(chosen: Asked) -> str:
    return f"No events {chosen.which} are parked any more."


def _counted(rows: Rows) -> tuple[int, bool]:
    """How many there are, and whether there may be more."""
    count: Any = rows.order_by()[:COUNTED].count()
    return int(count), count == COUNTED
