"""Keys in the admin: what was answered, and what to do when nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from django_strangler.admin import asking
from django_strangler.admin.bounded import BoundedPaginator
from django_strangler.admin.readonly import ReadOnlyAdmin

from .models import IdempotentRequest, IdempotentRequestQuerySet

SEARCHED = 50_000  # The newest rows, among which a key is looked for.
PERMISSION = "strangler_http_idempotency.resolve_idempotentrequest"


class Verb(NamedTuple):
    """What a person may decide about a request of unknown outcome."""

    name: str
    link: str
    facts: tuple[str, ...]
    act: Callable[[IdempotentRequestQuerySet], Any]


VERBS = (
    Verb(
        "release",
        "It did not take effect: let the client try again",
        (
            "The key is free afterwards, and the next request with it runs the view "
            "from its start.",
            "If it did take effect after all, it will do so twice. First look at the "
            "services that the view calls.",
        ),
        lambda rows: rows.delete(),
    ),
    Verb(
        "settle",
        "It took effect: never run it again",
        ("Each further request with this key is answered that it was done, with 409.",),
        lambda rows: rows.settle(),
    ),
)


class OnlyUnknown(admin.SimpleListFilter):
    """Those that a person has to look at."""

    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("unknown", _("Unknown"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.unknown() if self.value() == "unknown" else queryset


@admin.register(IdempotentRequest)
class IdempotentRequestAdmin(ReadOnlyAdmin):
    """Read only, but for the two verbs."""

    list_display = ("key", "scope", "route", "state", "status", "created_at")
    list_filter = (OnlyUnknown,)
    search_fields = ("key",)
    search_help_text = _("The exact key, among the newest 50,000.")
    ordering = ("-id",)
    paginator = BoundedPaginator
    show_full_result_count = False
    fields = (
        "key", "scope", "route", "state", "resolve", "point", "status", "created_at",
        "finished_at", "locked_until", "expires_at",
    )  # fmt: skip
    readonly_fields = ("resolve",)

    class Media:
        css = {"all": ["strangler/admin.css"]}

    @admin.display(description=_("What may be done"))
    def resolve(self, row: IdempotentRequest) -> str:
        """Links to the questions, while nobody knows the outcome."""
        if not _rows(row.pk).unknown().exists():
            return "-"
        return format_html_join(
            " · ",
            '<a href="../{}/">{}</a>',
            ((verb.name, verb.link) for verb in VERBS),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The key has no index of its own."""
        if not search_term:
            return queryset, False
        newest = queryset.order_by("-id").values_list("id", flat=True).first() or 0
        found = queryset.filter(id__gt=newest - SEARCHED)
        return found.filter(key=search_term.replace("\0", "")), False

    def get_urls(self) -> list[URLPattern]:
        """One page per verb."""
        pages = asking.pages(self, VERBS, self._page, at="<int:number>/")
        return [*pages, *super().get_urls()]

    def _page(self, request: HttpRequest, number: int, verb: Verb) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        row = _rows(number).first()
        if row is None:
            raise Http404
        name = "strangler_http_idempotency_idempotentrequest"
        back = asking.url(self.admin_site, f"{name}_change", number)
        why = request.POST.get("why", "").strip()[:500]
        if request.method != "POST" or not why:
            if request.method == "POST":
                self.message_user(request, _("Say why."), messages.ERROR)
            return asking.ask(
                self.admin_site,
                request,
                question=f"{verb.link}?",
                facts=[f"The request {row} to {row.route}.", *verb.facts],
                yes="Yes, I have looked",
                back=back,
                asks_why=True,
            )
        with transaction.atomic(using=row._state.db):
            # Asked again: its process may have come to an end after all.
            if done := _rows(number).unknown().select_for_update().exists():
                self.log_change(request, row, f"{verb.name}: {why}")
                verb.act(_rows(number))
        if done:
            self.message_user(request, _("Done: %s.") % verb.link.lower())
        else:
            self.message_user(
                request, _("Nothing was done: it has ended."), messages.WARNING
            )
        return HttpResponseRedirect(asking.url(self.admin_site, f"{name}_changelist"))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A person who may resolve a request has to find it."""
        return super().has_view_permission(request, obj) or request.user.has_perm(
            PERMISSION
        )


def _rows(number: int) -> IdempotentRequestQuerySet:
    alias = router.db_for_write(IdempotentRequest)
    found: IdempotentRequestQuerySet = IdempotentRequest.objects.using(alias)
    return found.filter(pk=number)
