"""``STRANGLER["EXPERIMENTS"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


def _release(value: object) -> str:
    return "" if value == "" else conf.text(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentsSettings:
    """Settings of the app, with their defaults; durations are in seconds."""

    timeout: float = conf.setting(1.0, conf.seconds(0.001))
    release: str = conf.setting("", _release)  # Shown beside a mismatch.
    hidden: tuple[str, ...] = conf.setting(
        ("password", "token", "secret"), conf.listing(conf.text)
    )
    retention: float = conf.setting(30 * 86400.0, conf.seconds(3600))


settings = conf.section("EXPERIMENTS", ExperimentsSettings)
