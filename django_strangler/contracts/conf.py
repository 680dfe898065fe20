"""``STRANGLER["CONTRACTS"]``."""

from __future__ import annotations

from dataclasses import dataclass

from django_strangler import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractsSettings:
    """Settings of the app, with their defaults."""

    validate: bool = conf.setting(True, conf.boolean)  # In tests and with DEBUG only.


settings = conf.section("CONTRACTS", ContractsSettings)
