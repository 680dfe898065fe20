"""``STRANGLER["EXAMPLE"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSettings:
    """What the example can be told."""

    most: int = conf.setting(3, conf.positive)


settings = conf.section("EXAMPLE", ExampleSettings)
