"""Mismatches in the admin: what differs, a few samples, and what is known."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from .models import ExperimentTotal, Mismatch


class MismatchForm(forms.ModelForm):  # type: ignore[type-arg]
    """What may be said of a mismatch: that it is known, until when, and why."""

    class Meta:
        model = Mismatch
        fields = ["known_why", "known_until"]
        help_texts = {
            "known_why": _("Until then it is not a failure, and no guard acts on it."),
        }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if bool(cleaned.get("known_why")) != bool(cleaned.get("known_until")):
            raise forms.ValidationError(
                _("Say both why it is expected and until when, or neither.")
            )
        return cleaned


@admin.register(Mismatch)
class MismatchAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Read by those who may view; marked by those who may mark."""

    form = MismatchForm
    list_display = (
        "experiment",
        "path",
        "kind",
        "count",
        "last_at",
        "known_until",
    )
    list_filter = ("experiment", "candidate", "kind")
    search_fields = ("experiment", "path")
    show_facets = admin.ShowFacets.NEVER
    fields = (
        "experiment",
        "candidate",
        "kind",
        "path",
        "count",
        "first_at",
        "last_at",
        "first_release",
        "last_release",
        "shown_samples",
        "known_why",
        "known_until",
        "known_by",
    )
    readonly_fields = tuple(
        each for each in fields if each not in MismatchForm.Meta.fields
    )

    class Media:
        css = {"all": ["strangler/admin.css"]}

    @admin.display(description=_("Samples"))
    def shown_samples(self, mismatch: Mismatch) -> SafeString:
        """Control and candidate side by side; everything is escaped."""
        return format_html_join(
            "\n",
            "<p><small>{} {}</small><br>control: <code>{}</code><br>"
            "candidate: <code>{}</code></p>",
            (
                (
                    sample.get("at", ""),
                    sample.get("context", ""),
                    sample.get("control", ""),
                    sample.get("candidate", ""),
                )
                for sample in mismatch.samples
            ),
        )

    def save_model(
        self, request: HttpRequest, obj: Mismatch, form: Any, change: bool
    ) -> None:
        obj.mark_known(
            why=obj.known_why, until=obj.known_until, by=request.user.get_username()
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("strangler_experiments.mark_mismatch")


@admin.register(ExperimentTotal)
class ExperimentTotalAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """How often candidates ran."""

    list_display = ("experiment", "candidate", "runs", "mismatches", "last_at")
    list_filter = ("experiment",)
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
