"""What ``manage.py check`` says about contracts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register

from django_strangler.exceptions import ConfigurationError

from . import upcasters
from .declare import registry
from .exceptions import CannotJudge
from .snapshots import Store
from .writing import unwritten


@register()
def check_contracts(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001: nobody can tell what events hold. W001, W002: not written, or useless."""
    return list(_messages())


def _messages() -> Iterator[CheckMessage]:
    store = Store()
    try:
        registry.discover()
        # A production host need not have the files.
        missing = unwritten(store) if store.root.is_dir() else {}
    except ConfigurationError:
        return  # strangler.E001 says so.
    except CannotJudge as error:
        yield Error(str(error), id="strangler_contracts.E001")
        return
    if missing:
        yield Warning(
            f"Contracts are not as their files say: {len(missing)} have to be written.",
            hint="Run: manage.py strangler_contracts write",
            id="strangler_contracts.W001",
        )
    for (type, since), (to, _upcaster) in upcasters.registered.items():
        known = [*registry.events.values(), *registry.readers]
        newest = [each.version for each in known if each.type == type]
        if not newest or to > max(newest):
            yield Warning(
                f"The upcaster of {type!r} from {since} to {to} leads to a version "
                "that no class here has: it is never called.",
                hint="Declare version= of the class, or correct the upcaster.",
                id="strangler_contracts.W002",
            )
