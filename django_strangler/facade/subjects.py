"""
Whom a flag is asked for: the user, else the bearer of a cookie that we have signed.

The cookie is ``<id>~<signature>``. nginx takes what stands before the ``~``, and cannot
check the rest: a forged one chooses a backend and nothing more, and the next response
of the monolith mends it. It follows the user: logging in binds it to their id.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from django.conf import settings as django_settings
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_strangler.feature_flags.rules import subject_text

from .conf import settings
from .routes import Route

_PLAIN = re.compile(r"[A-Za-z0-9._@+-]{1,255}")  # What nginx reads as we do.
_signer = Signer(salt="django_strangler.facade", sep="~")


def subject_of(request: HttpRequest, route: Route) -> Any:
    """Whom the route's flag is asked for; None for nobody."""
    if route.subject is not None:
        return route.subject(request)
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        return user.pk
    return _known(request) or None


def bind(request: HttpRequest, response: HttpResponseBase, route: Route) -> None:
    """Let the cookie say who this is, if it does not say so yet."""
    if route.subject is not None:
        return
    user = getattr(request, "user", None)
    known = _known(request)
    if user is not None and user.is_authenticated:
        wanted = subject_text(user.pk)
    else:
        # One that was a user's goes when they log out.
        wanted = known if known.startswith("anon-") else f"anon-{secrets.token_hex(12)}"
    if wanted == known or not _PLAIN.fullmatch(wanted):
        return
    response.set_cookie(
        settings().cookie,
        _signer.sign(wanted),
        max_age=int(settings().cookie_age),
        path=django_settings.SESSION_COOKIE_PATH,
        domain=django_settings.SESSION_COOKIE_DOMAIN,
        secure=django_settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _known(request: HttpRequest) -> str:
    given = request.COOKIES.get(settings().cookie)
    if not given:
        return ""
    try:
        return _signer.unsign(given)
    except BadSignature:
        return ""
