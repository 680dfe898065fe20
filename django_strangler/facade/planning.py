"""What nginx's configuration is made of, read from settings, routes and flags."""

from __future__ import annotations

from django_strangler.feature_flags import cohort
from django_strangler.services import carrying, service

from .conf import settings
from .nginx import Mode, NotForNginx, Plan
from .routes import routes


def plan(
    mode: Mode,
    *,
    listen: str = "80",
    legacy_url: str | None = None,
    evidence_log: str = "",
) -> Plan:
    """The plan for all routes; NotForNginx says which of them cannot be in it."""
    found = tuple(sorted(routes, key=lambda each: each.name))
    services = {name: service(name) for name in {each.service for each in found}}
    for name, each in services.items():
        if callable(each.settings.url):
            raise NotForNginx(
                f"The URL of {name!r} is a function. nginx needs a URL in the settings."
            )
    flags = {}
    if mode == "split":
        flags = {name: cohort(name) for name in {each.flag for each in found}}
    known = settings()
    return Plan(
        mode=mode,
        routes=found,
        urls={name: each.url for name, each in services.items()},
        cohorts=flags,
        timeouts={
            name: (each.settings.connect_timeout, each.settings.timeout)
            for name, each in services.items()
        },
        legacy_url=legacy_url or known.legacy_url,
        cookie=known.cookie,
        # A client's own word about its tenant does not get past nginx either.
        private_headers=(*known.private_headers, *carrying.names().values()),
        listen=listen,
        evidence_log=evidence_log,
    )
