"""Sagas in the admin: the stuck ones first, and what a person may do about them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from django_strangler.admin import asking
from django_strangler.admin.bounded import BoundedPaginator
from django_strangler.admin.readonly import ReadOnlyAdmin
from django_strangler.exceptions import StranglerError

from . import resolving
from .models import SagaRun, SagaStep, States


class Verb(NamedTuple):
    """What may be done with a stuck saga, by whom."""

    name: str
    permission: str
    link: str
    fact: str
    act: Callable[..., SagaRun]


VERBS = (
    Verb(
        "retry",
        "strangler_sagas.retry_saga",
        "Retry its step",
        "The participant is asked once more. What it has done already, it does not "
        "do again.",
        resolving.retry,
    ),
    Verb(
        "skip",
        "strangler_sagas.skip_undo",
        "Skip this undo",
        "The step counts as undone, and those before it are undone. First undo by hand "
        "what it has done.",
        resolving.skip_undo,
    ),
    Verb(
        "complete",
        "strangler_sagas.resolve_saga",
        "Declare it completed",
        "Nothing more is sent. First do by hand what remains.",
        partial(resolving.resolve, completed=True),
    ),
    Verb(
        "undone",
        "strangler_sagas.resolve_saga",
        "Declare it undone",
        "Nothing more is sent. First undo by hand what was done.",
        partial(resolving.resolve, completed=False),
    ),
)


class History(admin.TabularInline):  # type: ignore[type-arg]
    """What happened, the oldest first."""

    model = SagaStep
    fields = readonly_fields = (
        "turn", "step", "undoing", "outcome", "reason", "by", "at",
    )  # fmt: skip
    extra = 0
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SagaStep]:
        """Read where the saga is: a replica may lag behind it."""
        return super().get_queryset(request).using(router.db_for_write(SagaStep))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History is written by what happens."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A person who sees the saga sees its history."""
        return True


@admin.register(SagaRun)
class SagaRunAdmin(ReadOnlyAdmin):
    """Read only, but for the verbs."""

    list_display = ("name", "correlation", "state", "step", "reason", "updated_at")
    list_filter = ("state",)
    search_fields = ("=correlation",)
    # The stuck have the greatest number; among them the oldest come first.
    ordering = ("-state", "id")
    paginator = BoundedPaginator
    show_full_result_count = False
    inlines = (History,)
    fields = (
        "state", "step", "reason", "actions_of", "name", "version", "correlation",
        "saga_id", "turn", "attempt", "due_at", "data", "started_at", "updated_at",
    )  # fmt: skip
    readonly_fields = ("actions_of",)

    @admin.display(description=_("What may be done"))
    def actions_of(self, run: SagaRun) -> str:
        """Links to the questions, while it is stuck."""
        if run.state != States.STUCK:
            return "-"
        return format_html_join(
            " · ", '<a href="../{}/">{}</a>', ((each.name, each.link) for each in VERBS)
        )

    def get_urls(self) -> list[URLPattern]:
        """One page per verb."""
        pages = asking.pages(self, VERBS, self._page, at="<int:number>/")
        return [*pages, *super().get_urls()]

    def _page(self, request: HttpRequest, number: int, verb: Verb) -> HttpResponse:
        if not request.user.has_perm(verb.permission):
            raise PermissionDenied
        rows = SagaRun.objects.using(router.db_for_write(SagaRun))
        run = rows.filter(pk=number).first()
        if run is None:
            raise Http404
        back = asking.url(self.admin_site, "strangler_sagas_sagarun_change", number)
        if request.method == "POST":
            why = request.POST.get("why", "")[:500]
            try:
                verb.act(run, by=request.user.get_username(), why=why)
            except StranglerError as error:
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.log_change(request, run, f"{verb.name}: {why}")
                self.message_user(request, _("Done: %s.") % verb.link.lower())
            return HttpResponseRedirect(back)
        return asking.ask(
            self.admin_site,
            request,
            question=f"{verb.link}: {run}?",
            facts=[f"It is stuck at {run.step}: {run.reason}", verb.fact],
            yes=f"Yes, {verb.link.lower()}",
            back=back,
            asks_why=True,
        )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A person who may act on a saga has to find it."""
        return super().has_view_permission(request, obj) or any(
            request.user.has_perm(verb.permission) for verb in VERBS
        )
