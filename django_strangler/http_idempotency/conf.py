"""``STRANGLER["HTTP_IDEMPOTENCY"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpIdempotencySettings:
    """What a view's own options do not say; durations are in seconds."""

    retention: float = conf.setting(7 * 86400.0, conf.seconds(1))
    wait: float = conf.setting(2.0, conf.seconds(0))
    max_body: int = conf.setting(64 * 1024, conf.positive)
    lease: float = conf.setting(60.0, conf.seconds(1))


settings = conf.section("HTTP_IDEMPOTENCY", HttpIdempotencySettings)
