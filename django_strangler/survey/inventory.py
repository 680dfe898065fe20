"""What each domain has: tables, URLs, commands, jobs, subscribers, events."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from django_strangler.inbox.subscribers import registry

from .territory import Territory


@dataclass(slots=True)
class Domain:
    """A domain and what it has; every list is sorted."""

    name: str
    is_shared: bool  # No app: code that everybody uses.
    apps: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    schedule: list[str] = field(default_factory=list)
    subscribers: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    heard: dict[str, list[str]] = field(default_factory=dict)  # Its events, by domain.
    generic: list[str] = field(default_factory=list)  # May point at anything.


def domains(territory: Territory, events: Mapping[str, set[str]]) -> dict[str, Domain]:
    """The domains of the project, by name."""
    names = {
        *territory.labels.values(),
        *territory.shared,
        *map(territory.of_model, territory.models),
    }
    found = {name: Domain(name, name in territory.shared) for name in sorted(names)}
    for what, things in {
        "apps": territory.labels.items(),
        "tables": _tables(territory),
        "urls": ((route, domain) for route, _, domain in urls(territory)),
        "commands": _commands(territory),
        "jobs": jobs(territory).items(),
        "schedule": _schedule(territory),
        "subscribers": _subscribers(territory),
        "events": ((type, domain) for domain in events for type in events[domain]),
        "generic": _generic(territory),
    }.items():
        for name, domain in things:
            if domain in found:
                getattr(found[domain], what).append(name)
    for each in found.values():
        for what in (
            "apps",
            "tables",
            "urls",
            "commands",
            "jobs",
            "schedule",
            "events",
        ):
            getattr(each, what).sort()
        for event in each.events:
            for subscriber in registry.bound_to(event):
                home = territory.of_module(subscriber.handler.__module__)
                each.heard.setdefault(home, []).append(event)
    return found


def _tables(territory: Territory) -> Iterator[tuple[str, str]]:
    for table, model in territory.tables.items():
        yield table, territory.of_model(model)


def _generic(territory: Territory) -> Iterator[tuple[str, str]]:
    for model in territory.models:
        for each in model._meta.private_fields:
            if isinstance(each, GenericForeignKey):
                yield f"{model._meta.label}.{each.name}", territory.of_model(model)


def urls(territory: Territory) -> Iterator[tuple[str, str, str]]:
    """Each URL of the project: its route, its name, its domain."""

    def walk(
        patterns: Iterable[Any], route: str, spaces: tuple[str, ...], home: str
    ) -> Iterator[tuple[str, str, str]]:
        for each in patterns:
            here = f"{route}{each.pattern}"
            if isinstance(each, URLResolver):
                inner = (*spaces, each.namespace) if each.namespace else spaces
                module = getattr(each.urlconf_name, "__name__", home)
                yield from walk(each.url_patterns, here, inner, module)
            elif isinstance(each, URLPattern):
                view = _view(each.callback)
                module = getattr(view, "__module__", "")
                if "<locals>" in getattr(view, "__qualname__", ""):
                    module = home  # A decorator has hidden whose view it is.
                name = ":".join([*spaces, each.name]) if each.name else ""
                yield f"/{here}", name, territory.of_module(module)

    return walk(get_resolver().url_patterns, "", (), settings.ROOT_URLCONF)


def _view(callback: Any) -> Any:
    """The class or function behind a callback, whatever decorators are around it."""
    # Not by inspect.unwrap(): as_view() may leave a base class's dispatch() there.
    while not hasattr(callback, "view_class") and not hasattr(callback, "cls"):
        if not hasattr(callback, "__wrapped__"):
            return callback
        callback = callback.__wrapped__
    return getattr(callback, "view_class", None) or callback.cls


def url_names(territory: Territory) -> dict[str, str]:
    """The domain of each name of a URL that belongs to one alone."""
    found: dict[str, set[str]] = {}
    for _, name, domain in urls(territory):
        if name:
            found.setdefault(name, set()).add(domain)
    return {name: next(iter(whose)) for name, whose in found.items() if len(whose) == 1}


def _commands(territory: Territory) -> Iterator[tuple[str, str]]:
    for command, app in get_commands().items():
        if isinstance(app, str):
            yield command, territory.of_module(app)


def load_jobs(territory: Territory) -> Iterator[str]:
    """Import the modules of tasks, as a worker does; says which cannot be."""
    for config in territory.apps:
        name = f"{config.name}.tasks"
        if name not in sys.modules and find_spec(name):
            try:
                import_module(name)
            except Exception as error:  # noqa: BLE001  It is said, and the rest is read.
                yield f"{name} cannot be imported: {error!r}"


def jobs(territory: Territory) -> dict[str, str]:
    """The tasks of Celery and of Django, by name, and whose they are."""
    found = {}
    if (celery := sys.modules.get("celery")) is not None:
        for name, task in celery.current_app.tasks.items():
            if domain := territory.of_module(task.__module__):
                found[name] = domain
    for name, module in list(sys.modules.items()):
        if name.endswith("tasks") and (domain := territory.of_module(name)):
            for each in vars(module).values():
                if path := getattr(each, "module_path", ""):  # Of django.tasks.
                    found[path] = domain
    return found


def _schedule(territory: Territory) -> Iterator[tuple[str, str]]:
    celery = sys.modules.get("celery")
    tasks = jobs(territory)
    for name, entry in (
        celery.current_app.conf.beat_schedule if celery else {}
    ).items():
        task = entry["task"] if isinstance(entry, dict) else entry.task
        yield f"{name}: {task}", tasks.get(task, "")


def _subscribers(territory: Territory) -> Iterator[tuple[str, str]]:
    for each in registry.all():
        domain = territory.of_module(each.handler.__module__)
        yield f"{each.name}: {', '.join(each.patterns)}", domain
