"""The experiments and branches of this process by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from django.apps import apps

from .running import Seen


class Registered(Protocol):
    """What others need of an experiment."""

    flag: str | None
    control: Callable[..., Any] | None

    def try_later(
        self,
        names: Iterable[str],
        control: Seen,
        told: Mapping[str, Any],
        args: Any,
        kwargs: Any,
    ) -> None:
        """Run candidates for a control that has answered elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A branch as it is declared."""

    shadow: str | None
    module: str  # Of legacy, which is a part of the domain that is being moved.


registry: dict[str, Registered] = {}
branches: dict[str, Branch] = {}  # By flag.


def discover() -> None:
    """Import each app's module ``experiments``: this process may have read none."""
    for config in apps.get_app_configs():
        module = f"{config.name}.experiments"
        if find_spec(module) is not None:
            importlib.import_module(module)
