"""Feature flags in the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import router
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from django_strangler import feature_flags
from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags import attribution, guards, naming, ramps, wording
from django_strangler.feature_flags.changes import ids_of
from django_strangler.feature_flags.models import Flag, FlagChange

from . import asking
from .readonly import ReadOnlyAdmin


class IdsField(forms.CharField):
    """A list of ids, one per line."""

    widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((initial or []) != self.to_python(data))


class PercentageInput(forms.NumberInput):
    """A number with a slider beside it, where there are scripts."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        own = {"min": 0, "max": 100, "step": "0.01", "data-strangler-slider": ""}
        super().__init__({**own, **(attrs or {})})


class FlagForm(forms.ModelForm):  # type: ignore[type-arg]
    """A flag, and why it is changed."""

    included = IdsField(
        required=False,
        help_text=_("On for them, even at 0 %. Ids, names or addresses, one per line."),
    )
    excluded = IdsField(required=False, help_text=_("Off for them, even at 100 %."))
    ramp_steps = forms.CharField(
        required=False,
        label=_("New ramp"),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=_(
            "A schedule, such as: 1@now 5@+1d 25@+7d 100@2030-01-07T09:00. It ends "
            "when the percentage is changed by hand."
        ),
    )
    include_group = forms.ModelChoiceField(
        Group.objects.all(), required=False, help_text=_("Adds those in it now.")
    )
    include_staff = forms.BooleanField(
        required=False, help_text=_("Adds those who are staff now.")
    )
    why = forms.CharField(
        required=False,
        max_length=attribution.MAX_WHY,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=_("For the history."),
    )

    # The change that the form shows, so that a page left open undoes no later one.
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Flag
        fields = ["name", "enabled", "percentage", "included", "excluded", "salt"]
        widgets = {"percentage": PercentageInput}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Where it is written: a replica that lags behind would hide the last change.
        changes = FlagChange.objects.using(router.db_for_write(FlagChange))
        changes = changes.filter(flag=self.instance.name)
        self.strangers: list[str] = []  # Named, and no user.
        self.steps: list[Any] = []
        self.latest = changes.first() if self.instance.pk else None
        self.initial["seen"] = self.latest and self.latest.pk

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("seen") and self.latest and cleaned["seen"] < self.latest.pk:
            raise ValidationError(
                _("%s has changed this flag meanwhile. Load the page again.")
                % (self.latest.by or _("Another user"))
            )
        added = [cleaned["include_group"]] if cleaned.get("include_group") else []
        if cleaned.get("include_staff"):
            added.append(get_user_model()._default_manager.filter(is_staff=True))
        try:
            cleaned["included"] = [*self._ids(cleaned, "included"), *ids_of(added)]
            cleaned["excluded"] = self._ids(cleaned, "excluded")
        except StranglerError as error:
            raise ValidationError(str(error)) from error
        return cleaned

    def clean_ramp_steps(self) -> str:
        given: str = self.cleaned_data["ramp_steps"]
        try:
            self.steps = [ramps.parse_step(text) for text in given.split()]
            if self.steps:
                ramps.plan(self.steps, now=ramps.now())
        except StranglerError as error:
            raise ValidationError(str(error)) from error
        return given

    def _ids(self, cleaned: dict[str, Any], field: str) -> list[str]:
        """The ids of the users who are named, by id, name or address."""
        given = cleaned.get(field) or []
        known = set(getattr(self.instance, field) or []) if self.instance.pk else set()
        named = naming.look_up([text for text in given if text not in known])
        self.strangers += naming.strangers(named)
        ids = {each.given: each.id for each in named}
        return [ids.get(text, text) for text in given]


class FlagVerb(NamedTuple):
    """A button of a flag's page, which asks first."""

    name: str
    label: str
    question: str
    fact: str
    yes: str
    done: str
    act: Callable[..., Flag]
    fits: Callable[[Flag], bool]


def _is_held(flag: Flag) -> bool:
    return bool(flag.ramp and flag.ramp.get("held_at"))


OFF = FlagVerb(
    "off",
    "Off…",
    "Switch {} off?",
    "It will be off for everybody, named users included. "
    "The percentage stays for later.",
    "Yes, switch it off",
    "off for everybody",
    feature_flags.disable,
    lambda flag: flag.enabled,
)
ON = FlagVerb(
    "on",
    "On…",
    "Switch {} on?",
    "It will be on for those whom its percentage and its names let in. A ramp stays "
    "held until it is resumed.",
    "Yes, switch it on",
    "on again",
    feature_flags.enable,
    lambda flag: not flag.enabled,
)
HOLD = FlagVerb(
    "hold",
    "Hold the ramp…",
    "Hold the ramp of {}?",
    "It stays at the percentage that it has reached.",
    "Yes, hold it",
    "the ramp is held",
    feature_flags.hold_ramp,
    lambda flag: flag.enabled and flag.ramp is not None and not _is_held(flag),
)
RESUME = FlagVerb(
    "resume",
    "Resume…",
    "Resume {}?",
    "Its incidents end. What a guard has switched off is on again, at its percentage; "
    "a ramp goes on from where it was held, and the steps to come move by as long.",
    "Yes, resume it",
    "resumed",
    feature_flags.resume,
    lambda flag: (
        (flag.enabled and _is_held(flag)) or guards.open_incidents(flag).exists()
    ),
)
VERBS = (OFF, ON, HOLD, RESUME)


@admin.register(Flag)
class FlagAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Users who may only switch off, may do that and nothing else."""

    form = FlagForm
    list_display = ("name", "rollout")
    search_fields = ("name",)
    readonly_fields = ("rollout", "schedule")
    change_form_template = "admin/strangler/flag/change_form.html"
    fieldsets = (
        (None, {"fields": ("name", "rollout", "enabled", "percentage", "why", "seen")}),
        (_("Ramp"), {"fields": ("schedule", "ramp_steps")}),
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

    class Media:
        css = {"all": ["strangler/admin.css"]}
        js = ["strangler/flag.js"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Flag]:
        return super().get_queryset(request).using(router.db_for_write(Flag))

    @admin.display(description=_("Now"))
    def schedule(self, flag: Flag) -> str:
        return wording.schedule(flag) if flag.pk else "-"

    @admin.display(description=_("Rollout"))
    def rollout(self, flag: Flag) -> str:
        return wording.shown(flag) if flag.pk else "-"

    def save_model(
        self, request: HttpRequest, obj: Flag, form: FlagForm, change: bool
    ) -> None:
        if "percentage" in form.changed_data:
            obj.ramp = None  # As set_rollout does.
        if form.steps:
            now = ramps.now()
            obj.percentage = obj.rollout(now)
            obj.ramp = ramps.plan(form.steps, now=now).to_json()
        for text in form.strangers:
            self.message_user(
                request,
                _("There is no such user: %s is taken for the id of something else.")
                % text,
                messages.WARNING,
            )
        with feature_flags.attributed_to(request.user, form.cleaned_data["why"]):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Flag) -> None:
        with feature_flags.attributed_to(request.user, "deleted in the admin"):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Flag]) -> None:
        with feature_flags.attributed_to(request.user, "deleted in the admin"):
            super().delete_queryset(request, queryset)

    def get_urls(self) -> list[URLPattern]:
        pages = asking.pages(self, VERBS, self._page, at="<path:object_id>/")
        return [*pages, *super().get_urls()]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Our own history, which knows of every way to change a flag."""
        flag = self._flag(request, object_id)
        if not self.has_view_or_change_permission(request, flag):
            raise PermissionDenied
        changes = asking.url(self.admin_site, "strangler_flagchange_changelist")
        return HttpResponseRedirect(f"{changes}?{urlencode({'flag': flag.name})}")

    def _page(
        self, request: HttpRequest, object_id: str, verb: FlagVerb
    ) -> HttpResponse:
        """Ask once, then do it."""
        flag = self._flag(request, object_id)
        if not self.may(verb, request, flag):
            raise PermissionDenied
        page = asking.url(self.admin_site, "strangler_flag_change", flag.pk)
        if request.method != "POST":
            return asking.ask(
                self.admin_site,
                request,
                question=verb.question.format(flag.name),
                facts=[f"Now: {wording.shown(flag)}", verb.fact],
                yes=verb.yes,
                back=page,
                asks_why=True,
                is_harmful=verb is OFF,
            )
        why = request.POST.get("why", "")
        try:
            verb.act(flag.name, by=request.user, why=why)
        except StranglerError as error:
            # The row was written by hand; this says how it should look.
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.log_change(request, flag, f"{verb.done}: {why}"[:500])
            self.message_user(
                request, _("Flag %s: %s.") % (flag.name, verb.done), messages.SUCCESS
            )
        return HttpResponseRedirect(asking.dashboard(self.admin_site))

    def may(self, verb: FlagVerb, request: HttpRequest, flag: Flag | None) -> bool:
        """To switch off has a permission of its own; the others change the flag."""
        if verb is OFF:
            return self.may_switch_off(request, flag)
        return bool(self.has_change_permission(request, flag))

    def may_switch_off(self, request: HttpRequest, flag: Flag | None = None) -> bool:
        return self.has_change_permission(request, flag) or request.user.has_perm(
            "strangler.switch_off_flag"
        )

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A user who may switch off has to find the flag.
        return super().has_view_permission(request, obj) or request.user.has_perm(
            "strangler.switch_off_flag"
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        flag: Flag | None = kwargs.get("obj")
        if flag is not None:
            context["switches"] = [
                verb
                for verb in VERBS
                if verb.fits(flag) and self.may(verb, request, flag)
            ]
            context["subject"] = subject = request.GET.get("subject", "").strip()
            if subject:
                context["answer"] = _answer(request, flag, subject)
        return super().render_change_form(request, context, *args, **kwargs)

    def _flag(self, request: HttpRequest, object_id: str) -> Flag:
        flag = self.get_object(request, unquote(object_id))
        if flag is None:
            raise Http404
        return flag  # type: ignore[no-any-return]


@admin.register(FlagChange)
class FlagChangeAdmin(ReadOnlyAdmin):
    """History."""

    show_facets = admin.ShowFacets.NEVER  # Each would count the whole table.
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


def _answer(request: HttpRequest, flag: Flag, text: str) -> str:
    """Whether a user is in, and why."""
    # Here: every process loads the admin, and hardly any shows this page.
    from django_strangler.feature_flags.evaluation import evaluate

    user = get_user_model()._meta
    may_see_users = request.user.has_perm(f"{user.app_label}.view_{user.model_name}")
    (named,) = (
        naming.look_up([text]) if may_see_users else [naming.Named(given=text, id=text)]
    )
    decision = evaluate(flag.name, named.id)
    return f"{named}: {'on' if decision else 'off'}. {wording.reason(decision, flag)}"
