"""Strings that name what belongs to another domain: models, code, URLs, tables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.conf import global_settings
from django.conf import settings as django_settings

from .conf import settings
from .couplings import Coupling, Kind
from .reading import Code, Map, called, text
from .territory import Territory

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.\w+)+")
_SQL = re.compile(
    r"\bselect\b.*\bfrom\b|\binsert\s+into\b|\bupdate\b.*\bset\b|\bdelete\s+from\b"
    r"|\btruncate\b|\bjoin\b.*\bon\b|\balter\s+table\b",
    re.IGNORECASE | re.DOTALL,
)
_WORD = re.compile(r"\w+")
_REVERSING = {"reverse", "reverse_lazy", "redirect", "resolve_url"}
_EVENTS = {"publish_event", "event"}  # A call, and the decorator of a contract.
_NO_TIE = {"getLogger", "get_logger", "TypeVar", "reads", *_EVENTS}  # What they name.


@dataclass(frozen=True, slots=True)
class Names:
    """What a string may be, and whose that is."""

    territory: Territory
    urls: Mapping[str, str]  # By name, with the namespace in front.
    templates: Mapping[str, str]
    tasks: Mapping[str, str]
    lookups: frozenset[str] = field(
        default_factory=lambda: frozenset(settings().lookups)
    )
    models: dict[str, str] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(
        default_factory=dict
    )  # By the same in small letters.

    def __post_init__(self) -> None:
        for model in self.territory.models:
            meta, domain = model._meta, self.territory.of_model(model)
            self.models[meta.label] = domain
            self.labels[meta.label_lower] = meta.label
            given = [
                f"{action}_{meta.model_name}" for action in meta.default_permissions
            ]
            for name in (*given, *(name for name, _ in meta.permissions)):
                self.permissions[f"{meta.app_label}.{name}"] = domain

    def whose(self, name: str, world: Map) -> str:
        """The domain of a model, permission, task or dotted path; empty if none."""
        if not _DOTTED.fullmatch(name):
            return ""
        for known in (self.models, self.permissions, self.tasks):
            if name in known:
                return known[name]
        parts = name.split(".")
        for end in range(len(parts), max(len(parts) - 3, 0), -1):
            module = ".".join(parts[:end])
            if module in world.modules:
                is_there = world.has(name, module)
                return self.territory.of_module(module) if is_there else ""
        return ""


def strings(code: Code, names: Names) -> Iterator[Coupling]:
    """Every string of a module."""
    in_call = dict(_first_arguments(code))
    no_tie = _NO_TIE | names.lookups  # The latter are looked at apart.
    fields = code.relation_lines()  # These strings are counted as relations.
    for node in code.all(ast.Constant):
        value = node.value
        if not isinstance(value, str) or len(value) < 3 or code.is_part(node):
            continue
        function = in_call.get(node, "")
        if " " in value:
            if "\n" in value or _SQL.search(value):
                yield from _sql(code, node, value)
        elif function in _REVERSING:
            what = f"url {value}"
            yield from code.tie(node, names.urls.get(value, ""), Kind.URL, what)
        elif "/" in value:
            if domain := names.templates.get(value):
                yield from code.tie(node, domain, Kind.TEMPLATE, value)
        elif node.lineno not in fields and function not in no_tie:
            domain = names.whose(value, code.world)
            yield from code.tie(node, domain, Kind.STRING, value)
    for joined in code.all(ast.JoinedStr):
        # As it is written, so that a table's line can be counted.
        yield from _sql(code, joined, code.written(joined))
    for call in code.all(ast.Call):
        yield from _lookup(code, call, names)
    for attribute in code.all(ast.Attribute):
        if attribute.attr.isupper() and code.path(attribute.value) == (
            "django.conf.settings"
        ):
            yield from _setting(code, attribute, attribute.attr, names)


def events(code: Code) -> set[str]:
    """The types of events that a module publishes, or declares."""
    return {
        text(call.args[0])
        for call in code.all(ast.Call)
        if call.args and called(call.func) in _EVENTS and "." in text(call.args[0])
    }


def _first_arguments(code: Code) -> Iterator[tuple[ast.AST, str]]:
    for call in code.all(ast.Call):
        for argument in call.args[:1]:
            yield argument, called(call.func)


def _lookup(code: Code, call: ast.Call, names: Names) -> Iterator[Coupling]:
    name = called(call.func)
    if name == "get_user_model" and (user := code.territory.user):
        what = f"get_user_model(): {user._meta.label}"
        yield from code.tie(call, code.territory.of_model(user), Kind.SETTING, what)
    is_getattr = name == "getattr" and len(call.args) > 1
    if is_getattr and code.path(call.args[0]) == "django.conf.settings":
        yield from _setting(code, call, text(call.args[1]), names)
    if name not in names.lookups or not call.args or not text(call.args[0]):
        return
    first = text(call.args[0])
    label, _, rest = first.partition(".")
    if label not in code.territory.labels:
        domain = names.whose(first, code.world)
        yield from code.tie(call, domain, Kind.STRING, first)
        return
    others = call.args[1].elts if _is_list(call) else call.args[1:2]  # type: ignore[attr-defined]
    config = apps.get_app_config(label)
    home = code.territory.of_module(f"{config.name}.{rest}" if rest else config.name)
    for other in map(text, others or [call]):
        model = names.labels.get(f"{label}.{other or rest}".lower(), "")
        full = f"{first}.{other}" if other else first
        domain = names.models.get(model, home)
        yield from code.tie(call, domain, Kind.STRING, model or full)


def _is_list(call: ast.Call) -> bool:
    return len(call.args) > 1 and isinstance(call.args[1], (ast.List, ast.Tuple))


def _setting(code: Code, node: ast.AST, name: str, names: Names) -> Iterator[Coupling]:
    # What Django itself reads names every app, and ties none to another.
    if name != "AUTH_USER_MODEL" and (
        hasattr(global_settings, name) or name in ("STRANGLER", "CELERY_BEAT_SCHEDULE")
    ):
        return
    for each in set(_texts(getattr(django_settings, name, None))):
        domain = names.whose(each, code.world)
        yield from code.tie(node, domain, Kind.SETTING, f"{name}: {each}")


def _texts(value: Any, depth: int = 4) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping):
        yield from _texts(list(value.values()), depth - 1)
    elif depth and isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _texts(each, depth - 1)


def _sql(code: Code, node: ast.expr, value: str) -> Iterator[Coupling]:
    if not _SQL.search(value):
        return
    tables, seen = code.territory.tables, set[str]()
    for word in _WORD.finditer(value):
        table = word.group()
        if table in tables and table not in seen:
            seen.add(table)
            line = node.lineno + value.count("\n", 0, word.start())
            domain = code.territory.of_model(tables[table])
            yield from code.tie(node, domain, Kind.SQL, table, line)
