"""Events in the admin: lists, and a page for each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import connections, router
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_strangler.inbox.models import ConsumerProcess
from django_strangler.outbox.models import OutboxEvent
from django_strangler.printable import times

from . import bounded
from .actions import VERBS, ReplayAndDiscard
from .bounded import BoundedPaginator, Rows
from .letters import DeadLetterPages

_LONGEST = 100_000  # Characters; a browser chokes on much more.
_SAMPLE = 2_000  # Rows whose types are offered as filters.


def _state(params: Any) -> str:
    state = params.get("state") or ""
    return state if state in bounded.STATES else ""


class StateFilter(admin.SimpleListFilter):
    """Pending, of those the delayed, parked or confirmed."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state, _(state)) for state in bounded.STATES]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return bounded.in_state(queryset, _state(request.GET))


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
class OutboxEventAdmin(DeadLetterPages, ReplayAndDiscard):
    """Lists by state, type and key; the payload has a permission of its own."""

    list_display = ("type", "short_id", "key", "badge", "published", "note")
    list_display_links = ("type",)
    list_filter = (StateFilter, TypeFilter)
    search_fields = ("event_id", "key")  # See get_search_results().
    search_help_text = _(
        "An event's id, or a key: payment:42 also finds payments.payment:42. Keys and "
        "types are looked for among the first %(searched)s events of the list; choose "
        "a state to get further."
    ) % {"searched": f"{bounded.SEARCHED:,}"}
    sortable_by = ()  # No column has an order that an index could give.
    list_per_page = list_max_show_all = 100
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # Each would count the whole table.
    change_form_template = "admin/strangler/outboxevent/change_form.html"
    fields = readonly_fields = (
        "type",
        "key",
        "badge",
        "event_id",
        "correlation_id",
        "lane",
        "bytes",
    )

    class Media:
        css = {"all": ["strangler/admin.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LimitedList

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEvent]:
        return super().get_queryset(request).defer("body")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        vendor = connections[router.db_for_write(OutboxEvent)].vendor
        return bounded.order(_state(request.GET), vendor)

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        # ?body__contains=… would tell the payload to anybody who asks long enough, and
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
        alike = Q(key=term) | Q(key__endswith=f".{term}")
        return bounded.searched(queryset, state).filter(alike), False

    @admin.display(description=_("id"))
    def short_id(self, event: OutboxEvent) -> str:
        """Its end, where ids that were made at one time differ."""
        return format_html(
            '<span class="strangler-id" title="{}">…{}</span>',
            event.event_id,
            str(event.event_id)[-8:],
        )

    @admin.display(description=_("state"))
    def badge(self, event: OutboxEvent) -> str:
        """The glossary's word for it, as a badge."""
        return format_html(
            '<span class="strangler-badge {}">{}</span>', event.state, event.state
        )

    @admin.display(description=_("published"))
    def published(self, event: OutboxEvent) -> str:
        """Short, or the key has no room; its page has the rest."""
        moment = event.published_at
        local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
        return format_html(
            '<time class="strangler-when" title="{}">{}</time>',
            f"{local:%Y-%m-%d %H:%M:%S}",
            f"{local:%b %d %H:%M}",
        )

    @admin.display(description=_("note"))
    def note(self, event: OutboxEvent) -> str:
        """Why it is not simply on its way."""
        if event.state == "parked":
            return event.parked_reason
        if event.state == "pending" and event.attempts:
            return f"refused {times(event.attempts)}"
        return "delayed" if event.state == "pending" and event.available_at else ""

    @admin.display(description=_("size"))
    def bytes(self, event: OutboxEvent) -> str:
        """The size of its payload."""
        return f"{event.size:,} bytes"

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
            "timeline": timeline(event, _dead_letters(event)),
            "headers": _pretty(event.headers),
            "payload": _payload(event) if may_see_payload else None,
            "trace_url": template.replace("{trace_id}", trace),
            "of_same_key": of_same_key(event),
            "near": NEAR,
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Users who may replay, discard or cancel have to find the event."""
        return super().has_view_permission(request, obj) or any(
            request.user.has_perm(verb.permission) for verb in VERBS
        )


def _dead_letters(event: OutboxEvent) -> list[Any]:
    """Where the event is a dead letter, with the error of the subscriber."""
    from django_strangler import conf
    from django_strangler.monitoring import letters

    if event.state != "confirmed":
        return []
    settings = conf.current()
    consumers = ConsumerProcess.objects.using(router.db_for_write(ConsumerProcess))
    queues = consumers.values_list("queue", flat=True).distinct()[:100]
    known = letters.counts(queues, settings) or {}
    return letters.of_event(event.event_id, known, settings)


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
