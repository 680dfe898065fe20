"""Pauses in the admin: what no relay sends, who said so, and how it goes on."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html

from django_strangler.exceptions import InvalidEvent
from django_strangler.outbox import pauses
from django_strangler.outbox.models import Pause, outbox_alias

from . import asking
from .readonly import ReadOnlyAdmin

PERMISSION = "strangler.pause_relay"


class PauseForm(forms.ModelForm):  # type: ignore[type-arg]
    """What to pause, checked by the same rules as the command's."""

    class Meta:
        model = Pause
        fields = ("scope", "name", "why")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if "scope" in given and "name" in given:
            try:
                scope = Pause.Scope(given["scope"])
                pauses.check(scope, given["name"], using=outbox_alias())
            except InvalidEvent as error:
                raise forms.ValidationError(str(error)) from error
        return given


@admin.register(Pause)
class PauseAdmin(ReadOnlyAdmin):
    """All pauses, also those that have ended; one permission for both switches."""

    list_display = ("__str__", "switch", "since", "by", "why", "ended_at")
    list_filter = (("ended_at", admin.EmptyFieldListFilter),)
    ordering = ("-id",)
    form = PauseForm

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pause]:
        # They are where the outbox is.
        return super().get_queryset(request).using(outbox_alias())

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "<int:id>/resume/",
            self.admin_site.admin_view(self._resume_page),
            name="strangler_pause_resume",
        )
        return [page, *super().get_urls()]

    @admin.display(description="")
    def switch(self, each: Pause) -> str:
        """The way to the page that asks."""
        if each.ended_at is not None:
            return ""
        page = asking.url(self.admin_site, "strangler_pause_resume", each.pk)
        return format_html('<a class="button" href="{}">Resume…</a>', page)

    def save_model(
        self, request: HttpRequest, obj: Pause, form: Any, change: bool
    ) -> None:
        """As the command does it; what is paused already stays as it is."""
        by = request.user.get_username()
        scope = Pause.Scope(obj.scope)
        made = pauses.pause(scope, obj.name, by=by, why=obj.why, using=outbox_alias())
        obj.pk, obj.since, obj.by = made.pk, made.since, made.by

    def _resume_page(self, request: HttpRequest, id: int) -> HttpResponse:
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        rows, back = self.get_queryset(request), asking.dashboard(self.admin_site)
        each = rows.filter(pk=id, ended_at=None).first()
        if each is None:
            raise Http404
        what = f"the {each.scope} {each.name}" if each.name else "everything"
        if request.method != "POST":
            return asking.ask(
                self.admin_site,
                request,
                question=f"Send {what} again?",
                facts=["Relays send what waits within seconds, in the order of keys."],
                yes="Yes, resume",
                back=back,
                is_harmful=False,
            )
        by = request.user.get_username()
        with transaction.atomic(using=outbox_alias()):
            pauses.resume(
                Pause.Scope(each.scope), each.name, by=by, using=outbox_alias()
            )
            self.log_change(request, each, f"resume: {what}")
        self.message_user(request, f"Relays send {what} again.")
        return HttpResponseRedirect(back)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Users who may pause have to see what is paused."""
        may_pause = request.user.has_perm(PERMISSION)
        return may_pause or super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Pausing takes the permission of its own, and no other will do."""
        return request.user.has_perm(PERMISSION)
