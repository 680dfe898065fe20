"""``STRANGLER["SAGAS"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class SagasSettings:
    """Durations are in seconds."""

    retention: float = conf.setting(90 * 86400.0, conf.seconds(86400))
    max_data: int = conf.setting(16 * 1024, conf.positive)
    silent_after: float = conf.setting(300.0, conf.seconds(1))


settings = conf.section("SAGAS", SagasSettings)
