"""The page and its buttons: whoever reaches them may press them."""

from collections.abc import Callable

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe
from notifications import texts
from payments.rollout import NOTIFICATIONS

from django_strangler import feature_flags
from django_strangler.exceptions import InvalidRamp
from django_strangler.models import Flag

from . import scene, stage
from .bug import IN_PATH
from .forms import (
    BugForm,
    PayForm,
    RelayForm,
    RolloutForm,
    TablesForm,
    TrafficForm,
)
from .planted import Planted

Verb = Callable[..., None]

# Script and style come from our files, and from nowhere else.
POLICY = (
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)


@require_safe
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    response = render(request, "demo/page.html", {"scene": scene.now()})
    response["Content-Security-Policy"] = POLICY
    return response


@require_safe
def state(request: HttpRequest) -> HttpResponse:
    return JsonResponse(scene.now())


@require_POST
def pay(request: HttpRequest) -> HttpResponse:
    return _do(request, PayForm(request.POST), _pay)


@require_POST
def rollout(request: HttpRequest) -> HttpResponse:
    return _do(request, RolloutForm(request.POST), _set_rollout)


@require_POST
def relay(request: HttpRequest) -> HttpResponse:
    relay = stage.current().relay
    verbs = {"start": relay.start, "stop": relay.stop, "kill": relay.kill}
    return _do(request, RelayForm(request.POST), lambda do: verbs[do]())


@require_POST
def traffic(request: HttpRequest) -> HttpResponse:
    traffic = stage.current().traffic
    verbs = {"start": traffic.start, "stop": traffic.stop}
    return _do(request, TrafficForm(request.POST), lambda do: verbs[do]())


@require_POST
def tables(request: HttpRequest) -> HttpResponse:
    tables = stage.current().tables
    return _do(
        request,
        TablesForm(request.POST),
        lambda do: tables.finish() if do == "finish" else tables.go(do),
    )


@require_POST
def bug_switch(request: HttpRequest) -> HttpResponse:
    return _switch(request, IN_PATH, NOTIFICATIONS)


@require_POST
def texts_switch(request: HttpRequest) -> HttpResponse:
    return _switch(request, settings.RECEIPTS_BUG, texts.FLAG)


def _switch(request: HttpRequest, bug: Planted, flag: str) -> HttpResponse:
    verbs = {"break": bug.put_in, "mend": lambda: _mend(bug, flag)}
    return _do(request, BugForm(request.POST), lambda do: verbs[do]())


def _mend(bug: Planted, flag: str) -> None:
    """What was wrong is mended; then a person says so."""
    bug.take_out()
    if not Flag.objects.get(name=flag).enabled:
        try:
            feature_flags.resume(flag, by="demo", why="mended")
        except InvalidRamp:  # Somebody has changed the flag meanwhile: no incident.
            feature_flags.enable(flag, by="demo", why="mended")


def _pay(user: int | None, count: int | None) -> None:
    for _ in range(count or 1):
        stage.current().traffic.pay(user)


def _set_rollout(percentage: int) -> None:
    feature_flags.set_rollout(
        NOTIFICATIONS, percentage, by="demo", why="moved on the page"
    )


def _do(request: HttpRequest, form: forms.Form, verb: Verb) -> HttpResponse:
    """Do it, and show what is so now: to the script as JSON, else as the page."""
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    verb(**form.cleaned_data)
    if request.accepts("text/html"):
        return redirect("demo")
    return JsonResponse(scene.now())
