"""
``STRANGLER["DOMAINS"]``: the parts of the monolith that can become services.

``{"payments": ["payments", "ledger"], "orders": ["base.Order"]}``: apps, or single
models where one app holds everything. Every other app is a domain of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

from django.apps import apps

from django_strangler import conf


def _domains(value: object) -> Mapping[str, tuple[str, ...]]:
    found = conf.mapping(conf.listing(conf.text))(value)
    seen: dict[str, str] = {}
    for domain, labels in found.items():
        for label in labels:
            if seen.setdefault(label, domain) != domain:
                raise conf.Unfit(f"a dict in which {label!r} belongs to one domain")
    return MappingProxyType(dict(found))


settings = conf.section("DOMAINS", _domains)


def domain_of(label: str) -> str:
    """The domain of an app, a model ``app.Model``, or what lies in an app's module."""
    app = label.partition(".")[0]
    by_label = {
        each.lower(): domain for domain, labels in settings().items() for each in labels
    }
    return by_label.get(label.lower(), by_label.get(app.lower(), app))


def domain_of_module(module: str) -> str:
    """The domain of the app that a module is in; empty if it is in none."""
    config = apps.get_containing_app_config(module)
    return domain_of(config.label) if config else ""


Ties = Callable[[Collection[str]], Iterable[str]]


def ask_for_ties(find: Ties) -> None:
    """Let this be asked what ties models, given by label, to those of other domains."""
    _knowing[:] = [find]


def ties(models: Collection[str]) -> list[str]:
    """What ties these models to others, each a sentence; empty if nobody knows any."""
    return [sentence for find in _knowing for sentence in find(models)]


_knowing: list[Ties] = []
