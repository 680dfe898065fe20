"""Events in the admin: lists, and a page for each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import connections, router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from django_strangler.outbox.models import OutboxEvent

from . import bounded
from .actions import DISCARD, REPLAY, ReplayAndDiscard
from .bounded import BoundedPaginator, Rows

_LONGEST = 100_000  # Characters; a browser chokes on much more.
_SAMPLE = 2_000  # Rows whose types are offered as filters.


def _state(params: Any) -> str:
    state = params.get("state") or ""
    return state if state in bounded.STATES else ""


class StateFilter(admin.SimpleListFilter):
    """Pending, confirmed or parked."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state, _(state)) for state in bounded.STATES]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return bounded.in_state(queryset, _state(request.GET))


class AgeFilter(admin.SimpleListFilter):
    """Since when an event has been in its state; pending ones: since published."""

    title = _("age")
    parameter_name = "age"

    _AGES = {
        "1h": (3600, False, _("under an hour")),
        "1d": (86400, False, _("under a day")),
        "over-5m": (300, True, _("over 5 minutes")),
        "over-1h": (3600, True, _("over an hour")),
        "over-1d": (86400, True, _("over a day")),
        "over-7d": (7 * 86400, True, _("over 7 days")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(value, label) for value, (_s, _o, label) in self._AGES.items()]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        age = self._AGES.get(self.value() or "")
        if age is None:
            return queryset
        seconds, older, _label = age
        return bounded.aged(queryset, _state(request.GET), seconds, older=older)


class TypeFilter(admin.SimpleListFilter):
    """The types of the newest events; another one can be typed into the address."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        state = _state(request.GET)
        rows = bounded.in_state(model_admin.get_queryset(request), state)
        first = bounded.ordered(rows, state)
        types = set(first.values_list("type", flat=True)[:_SAMPLE])
        if chosen := request.GET.get("type"):
            types.add(chosen)
        return [(type, type) for type in sorted(types)]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        type = self.value()
        if not type:
            return queryset
        if "\0" in type:
            return queryset.none()  # PostgreSQL would not be asked about it.
        return bounded.searched(queryset, _state(request.GET)).filter(type=type)


class LimitedList(ChangeList):
    """A list with a LIMIT, also where all of it fits on one page."""

    def get_results(self, request: HttpRequest) -> None:
        """What is shown; without a LIMIT, MariaDB prefers to read the whole table."""
        super().get_results(request)
        if isinstance(self.result_list, QuerySet) and (
            not self.result_list.query.is_sliced
        ):
            self.result_list = self.result_list[: self.list_per_page]


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReplayAndDiscard):
    """Lists by state, age, type and key; the payload has a permission of its own."""

    list_display = (
        "event_id",
        "type",
        "key",
        "state_name",
        "published_at",
        "attempts",
        "parked_reason",
    )
    # In this order: what has an index makes the list short for what has none.
    list_filter = (StateFilter, AgeFilter, TypeFilter)
    search_fields = ("event_id", "key")  # See get_search_results().
    search_help_text = _(
        "An event's id, or a whole key. Keys and types are looked for among the first "
        "%(searched)s events of the list; choose a state or an age to get further."
    ) % {"searched": f"{bounded.SEARCHED:,}"}
    sortable_by = ()  # No column has an order that an index could give.
    actions = None
    list_per_page = list_max_show_all = 100
    paginator = BoundedPaginator
    show_full_result_count = False
    change_form_template = "admin/strangler/outboxevent/change_form.html"
    fields = readonly_fields = (
        "type",
        "key",
        "state_name",
        "event_id",
        "correlation_id",
        "lane",
        "size",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LimitedList

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEvent]:
        return super().get_queryset(request).defer("body")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        vendor = connections[router.db_for_read(OutboxEvent)].vendor
        return bounded.order(_state(request.GET), vendor)

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        # ?body__contains=… would tell the payload to whoever asks long enough, and
        # most others would read the whole table.
        return lookup in {each.parameter_name for each in self.list_filter}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[OutboxEvent], search_term: str
    ) -> tuple[QuerySet[OutboxEvent], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if (event_id := _as_uuid(term)) is not None:
            return queryset.filter(event_id=event_id), False
        state = _state(request.GET)
        return bounded.searched(queryset, state).filter(key=term), False

    @admin.display(description=_("state"))
    def state_name(self, event: OutboxEvent) -> str:
        """The glossary's word for it."""
        return event.state

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """What happened to it; the payload only to those who may see it."""
        # Here: every process loads the admin, and hardly any shows this page.
        from django_strangler import conf
        from django_strangler.monitoring.timeline import NEAR, of_same_key, timeline
        from django_strangler.tracing import trace_id

        event: OutboxEvent = kwargs["obj"]
        trace = trace_id(event.headers)
        template = conf.current().trace_url if trace else ""
        may_see_payload = request.user.has_perm("strangler.view_payload")
        context |= {
            "timeline": timeline(event),
            "headers": _pretty(event.headers),
            "payload": _payload(event) if may_see_payload else None,
            "trace_url": template.replace("{trace_id}", trace),
            "of_same_key": of_same_key(event),
            "near": NEAR,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may replay or discard has to find the event."""
        return super().has_view_permission(request, obj) or any(
            request.user.has_perm(verb.permission) for verb in (REPLAY, DISCARD)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Events come from publish_event()."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened has happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows go by prune_outbox, once they are confirmed."""
        return False


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _payload(event: OutboxEvent) -> str:
    try:
        return _pretty(event.payload)
    except (RecursionError, ValueError):
        return _cut([event.body])  # Too deep to be laid out, or no JSON.


def _pretty(value: Any) -> str:
    return _cut(json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value))


def _cut(chunks: Iterable[str]) -> str:
    """The beginning of a text that may be far longer than what it was made of."""
    shown, length = [], 0
    for chunk in chunks:
        if length < _LONGEST:
            shown.append(chunk[: _LONGEST - length])
        length += len(chunk)
    more = length - _LONGEST
    return "".join(shown) + (f"\n… and {more:,} more" if more > 0 else "")
