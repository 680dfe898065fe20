"""``STRANGLER["FACADE"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


def _names(value: object) -> tuple[str, ...]:
    return tuple(each.lower() for each in conf.listing(conf.text)(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class FacadeSettings:
    """What is the same for all routes."""

    # Who an anonymous visitor is, and in mode "split" also a user.
    cookie: str = conf.setting("strangler_id", conf.text)
    cookie_age: float = conf.setting(365 * 86400.0, conf.seconds(60))
    # A body up to this many bytes is kept, so that legacy can still answer.
    max_kept_body: int = conf.setting(64 * 1024, conf.positive)
    # Headers that are kept from services, unless a route says forward=.
    private_headers: tuple[str, ...] = conf.setting(("authorization", "cookie"), _names)
    # For nginx: where the monolith listens.
    legacy_url: str = conf.setting("http://127.0.0.1:8000", conf.text)
    # What compares the copies that a route's shadow= makes.
    shadow: str = conf.setting("django_strangler.experiments.shadow", conf.dotted_path)


settings = conf.section("FACADE", FacadeSettings)
