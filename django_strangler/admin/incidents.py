"""Guards and incidents in the admin: to read, and the way to resume."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_strangler.feature_flags import wording
from django_strangler.feature_flags.models import Flag, Guard, Incident

from . import asking
from .readonly import ReadOnlyAdmin


class SeenWithFlags(ReadOnlyAdmin):
    """A person who may see flags sees what acts on them, and what it did."""

    show_facets = admin.ShowFacets.NEVER

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may_see_flags = request.user.has_perm("strangler.view_flag")
        return may_see_flags or super().has_view_permission(request, obj)


@admin.register(Guard)
class GuardAdmin(SeenWithFlags):
    """They are set and removed by ``flag guard`` and ``set_guard()``."""

    list_display = ("flag", "does", "at", "by", "why")
    search_fields = ("flag",)

    @admin.display(description=_("What it does"))
    def does(self, guard: Guard) -> str:
        return wording.guard(guard)


@admin.register(Incident)
class IncidentAdmin(SeenWithFlags):
    """Open ones lead to the page that asks whether to resume, and why."""

    list_display = ("at", "flag", "switch", "action", "text", "resumed_at")
    list_filter = (("resumed_at", admin.EmptyFieldListFilter), "action")
    search_fields = ("flag", "source")

    class Media:
        css = {"all": ["strangler/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        flag = Flag.objects.filter(name=OuterRef("flag")).values("pk")[:1]
        rows = super().get_queryset(request)
        return rows.annotate(of=Subquery(flag))  # type: ignore[no-any-return]

    @admin.display(description="")
    def switch(self, incident: Incident) -> str:
        """The way to the question; none for a flag that is gone."""
        of: int | None = getattr(incident, "of", None)
        if incident.resumed_at or of is None:
            return ""
        page = asking.url(self.admin_site, "strangler_flag_resume", of)
        return format_html('<a class="button" href="{}">Resume…</a>', page)
