"""Feature flags in the admin."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from django_strangler import feature_flags
from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags import wording
from django_strangler.feature_flags.changes import ids_of
from django_strangler.feature_flags.models import Flag, FlagChange

from . import asking


class IdsField(forms.CharField):
    """A list of ids, one per line."""

    widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class FlagForm(forms.ModelForm):  # type: ignore[type-arg]
    """A flag, and why it is changed."""

    included = IdsField(required=False, help_text=_("Ids of users, one per line."))
    excluded = IdsField(required=False, help_text=_("Off for them, even at 100 %."))
    include_group = forms.ModelChoiceField(
        Group.objects.all(), required=False, help_text=_("Adds those in it now.")
    )
    include_staff = forms.BooleanField(
        required=False, help_text=_("Adds those who are staff now.")
    )
    why = forms.CharField(
        required=False, max_length=500, help_text=_("For the history.")
    )

    # The change that the form shows, so that a page left open undoes no later one.
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Flag
        fields = ["name", "enabled", "percentage", "included", "excluded", "salt"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        changes = FlagChange.objects.filter(flag=self.instance.name)
        self.latest = changes.first() if self.instance.pk else None
        self.initial["seen"] = self.latest and self.latest.pk

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("seen") and self.latest and cleaned["seen"] < self.latest.pk:
            raise ValidationError(
                _("%s has changed this flag meanwhile. Load the page again.")
                % (self.latest.by or _("Somebody"))
            )
        added = [cleaned["include_group"]] if cleaned.get("include_group") else []
        if cleaned.get("include_staff"):
            added.append(get_user_model()._default_manager.filter(is_staff=True))
        try:
            cleaned["included"] = [*cleaned.get("included", []), *ids_of(added)]
        except StranglerError as error:
            raise ValidationError(str(error)) from error
        return cleaned


@admin.register(Flag)
class FlagAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Whoever may only switch off, may do that and nothing else."""

    form = FlagForm
    list_display = ("name", "rollout")
    search_fields = ("name",)
    readonly_fields = ("rollout",)
    change_form_template = "admin/strangler/flag/change_form.html"
    fieldsets = (
        (None, {"fields": ("name", "rollout", "enabled", "percentage", "why", "seen")}),
        (
            _("Named users"),
            {"fields": ("included", "include_group", "include_staff", "excluded")},
        ),
        (
            _("Hash"),
            {
                "classes": ("collapse",),
                "fields": ("salt",),
                "description": _("Another salt gives the flag other users."),
            },
        ),
    )

    @admin.display(description=_("Rollout"))
    def rollout(self, flag: Flag) -> str:
        return wording.shown(flag) if flag.pk else "-"

    def save_model(
        self, request: HttpRequest, obj: Flag, form: FlagForm, change: bool
    ) -> None:
        if "percentage" in form.changed_data:
            obj.ramp = None  # As set_rollout does.
        with feature_flags.attributed_to(_user(request), form.cleaned_data["why"]):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Flag) -> None:
        with feature_flags.attributed_to(_user(request), "deleted in the admin"):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Flag]) -> None:
        with feature_flags.attributed_to(_user(request), "deleted in the admin"):
            super().delete_queryset(request, queryset)

    def get_urls(self) -> list[URLPattern]:
        off = self.admin_site.admin_view(self.off_view)
        return [
            path("<path:object_id>/off/", off, name="strangler_flag_off"),
            *super().get_urls(),
        ]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Our own history, which knows of every way to change a flag."""
        flag = self._flag(request, object_id)
        if not self.has_view_or_change_permission(request, flag):
            raise PermissionDenied
        changes = asking.url(self.admin_site, "strangler_flagchange_changelist")
        return HttpResponseRedirect(f"{changes}?{urlencode({'flag': flag.name})}")

    def off_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """ "Off now": asks once, and switches off."""
        flag = self._flag(request, object_id)
        if not self.may_switch_off(request, flag):
            raise PermissionDenied
        if request.method == "POST":
            why = request.POST.get("why", "")
            try:
                feature_flags.disable(flag.name, by=_user(request), why=why)
            except StranglerError as error:
                # Somebody has written the row by hand; this says how it should look.
                self.message_user(request, str(error), messages.ERROR)
            else:
                self.log_change(request, flag, f"switched off: {why}"[:500])
                self.message_user(
                    request, _("%s is off for everybody.") % flag.name, messages.SUCCESS
                )
            return HttpResponseRedirect(asking.dashboard(self.admin_site))
        return asking.ask(
            self.admin_site,
            request,
            question=f"Switch {flag.name} off?",
            facts=[
                f"Now: {wording.shown(flag)}",
                "It will be off for everybody, named users included. "
                "The percentage stays for later.",
            ],
            yes="Yes, switch it off",
            back=asking.url(self.admin_site, "strangler_flag_change", flag.pk),
            asks_why=True,
        )

    def may_switch_off(self, request: HttpRequest, flag: Flag | None = None) -> bool:
        return self.has_change_permission(request, flag) or request.user.has_perm(
            "strangler.switch_off_flag"
        )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever may switch off has to find the flag.
        return super().has_view_permission(request, obj) or request.user.has_perm(
            "strangler.switch_off_flag"
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        flag = kwargs.get("obj")
        context["may_switch_off"] = (
            flag is not None and flag.enabled and self.may_switch_off(request, flag)
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def _flag(self, request: HttpRequest, object_id: str) -> Flag:
        flag = self.get_object(request, unquote(object_id))
        if flag is None:
            raise Http404
        return flag  # type: ignore[no-any-return]


@admin.register(FlagChange)
class FlagChangeAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """History is read here, and written nowhere."""

    list_display = ("at", "flag", "what", "by", "short_why")
    list_filter = ("flag",)
    search_fields = ("flag", "by", "why")
    fields = ("at", "flag", "by", "by_id", "why", "before", "after")

    @admin.display(description=_("What"))
    def what(self, change: FlagChange) -> str:
        return wording.change(change.before, change.after)

    @admin.display(description=_("Why"))
    def short_why(self, change: FlagChange) -> str:
        return Truncator(change.why).chars(200)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _user(request: HttpRequest) -> Any:
    return request.user
