"""System checks: what is wrong with routes, before a request finds out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

MIDDLEWARE = "django_strangler.facade.FacadeMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


@register(Tags.compatibility)
def check_routes(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001 to E004, W001 and W002, of the facade."""
    from django_strangler.exceptions import ConfigurationError

    from .routes import routes

    if not any(routes):
        return []
    try:
        return [*_check_middleware(), *_check_services(), *_check_flags()]
    except ConfigurationError:
        return []  # strangler.E001 says it.


def _check_middleware() -> Iterator[CheckMessage]:
    from .routes import routes

    installed = list(django_settings.MIDDLEWARE)
    if MIDDLEWARE not in installed:
        if any(routes):
            yield Error(
                "There are routes, but no FacadeMiddleware that looks at requests.",
                hint=f"Add {MIDDLEWARE!r} to MIDDLEWARE, after authentication.",
                id="strangler_facade.E001",
            )
        return
    if AUTHENTICATION in installed and installed.index(MIDDLEWARE) < installed.index(
        AUTHENTICATION
    ):
        yield Error(
            "FacadeMiddleware comes before AuthenticationMiddleware, so it does not "
            "know the user yet when it asks a flag.",
            hint="Move it after that.",
            id="strangler_facade.E002",
        )


def _check_services() -> Iterator[CheckMessage]:
    from django_strangler.services.conf import identity, services

    from .routes import routes

    named = services().named
    for route in routes:
        if route.service not in named:
            yield Error(
                f"The route {route.name!r} leads to {route.service!r}, which "
                "STRANGLER['SERVICES'] does not have.",
                hint=f'Add {{"{route.service}": {{"URL": "http://…"}}}}.',
                id="strangler_facade.E003",
            )
    if any(routes) and not identity().keys:
        yield Warning(
            "Services do not learn who the user is: STRANGLER['IDENTITY'] has no KEYS.",
            hint="Make a key with: openssl genpkey -algorithm ed25519",
            id="strangler_facade.W001",
        )


@register(Tags.compatibility, deploy=True)
def check_threads(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """W003 of the facade: only who deploys knows how many threads there are."""
    from django_strangler.exceptions import ConfigurationError
    from django_strangler.services.conf import services

    from .routes import routes

    try:
        known = services()
    except ConfigurationError:
        return []  # strangler.E001 says it.
    return [
        Warning(
            f"The service {name!r} may hold {known.named[name].max_in_flight} threads "
            "of each process while it hangs: nobody has set its MAX_IN_FLIGHT.",
            hint="Set it to half of a process's threads: the other half always works.",
            id="strangler_facade.W003",
        )
        for name in sorted(known.uncapped & {route.service for route in routes})
    ]


def _check_flags() -> Iterator[CheckMessage]:
    from django_strangler.exceptions import InvalidFlagName
    from django_strangler.feature_flags.rules import check_name

    from .routes import routes

    prefixes: dict[str, str] = {}
    for route in routes:
        try:
            check_name(route.flag)
        except InvalidFlagName as error:
            yield Error(
                f"The route {route.name!r} asks a flag that cannot exist: {error}",
                id="strangler_facade.E004",
            )
        if route.prefix and route.prefix in prefixes:
            yield Warning(
                f"The routes {prefixes[route.prefix]!r} and {route.name!r} have the "
                f"same prefix {route.prefix!r}. The second is never asked.",
                id="strangler_facade.W002",
            )
        prefixes.setdefault(route.prefix, route.name)
