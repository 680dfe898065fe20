"""
Reverse accessors: ``payment.receipts`` reaches into the app that points at payments.

Types are inferred from what stands nearby: annotations, queries, foreign keys, and
names of variables that are those of one model.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from .couplings import Coupling, Kind
from .reading import Code, called, text
from .territory import Model, Territory

_ONE = {"get", "first", "last", "create", "latest", "earliest", "aget", "afirst"}
_SHORTCUTS = {"get_object_or_404", "aget_object_or_404"}
_BY_NAME = {
    "filter",
    "exclude",
    "get",
    "annotate",
    "aggregate",
    "values",
    "values_list",
}
_BY_TEXT = {
    *("values", "values_list", "prefetch_related", "select_related", "order_by"),
    *("only", "defer", "distinct"),
}


class Accessors:
    """The relations that lead back into other domains, by the accessor's name."""

    def __init__(self, territory: Territory) -> None:
        self.territory = territory
        self.by_name: defaultdict[str, list[tuple[Model, Any]]] = defaultdict(list)
        self._within = set[str]()  # Names of accessors that cross nothing.
        self._led_to: dict[Model, dict[str, Model | None]] = {}
        for model in territory.models:
            for relation in model._meta.related_objects:
                name = relation.get_accessor_name()
                other = territory.of_model(relation.related_model)
                if name and other and other != territory.of_model(model):
                    self.by_name[name].append((model, relation))
                elif name:
                    self._within.add(name)

    def of(self, code: Code) -> Iterator[Coupling]:
        """Those that a module follows."""
        for node in code.all(ast.Attribute):
            if node.attr in self.by_name and isinstance(node.ctx, ast.Load):
                yield from self._followed(code, node)
        for call in code.all(ast.Call):
            if isinstance(call.func, ast.Attribute):
                yield from self._looked_up(code, call)

    def _followed(self, code: Code, node: ast.Attribute) -> Iterator[Coupling]:
        found = self.by_name[node.attr]
        base = self.infer(code, node.value)
        for model, relation in found:
            is_certain = base is not None and issubclass(base, model)
            is_named = (
                base is None
                and node.attr.endswith("_set")
                and len(found) == 1
                and node.attr not in self._within
            )
            if is_certain or is_named:
                yield from self._tie(code, node, model, relation)
                return

    def _looked_up(self, code: Code, call: ast.Call) -> Iterator[Coupling]:
        name = called(call.func)
        if name not in _BY_NAME and name not in _BY_TEXT:
            return
        paths = [each.arg or "" for each in call.keywords] if name in _BY_NAME else []
        if name in _BY_TEXT:
            paths += [text(each).lstrip("-") for each in call.args]
        if not any(paths):
            return
        model = self._queried(code, call.func)
        for path in paths if model else ():
            yield from self._along(code, call, model, path)

    def _along(
        self, code: Code, call: ast.Call, model: Model | None, path: str
    ) -> Iterator[Coupling]:
        for part in path.split("__"):
            try:
                found: Any = model and model._meta.get_field(part)
            except FieldDoesNotExist:
                found = self._by_accessor(model, part)
            if found is None or not found.is_relation:
                return
            if (
                is_reverse(found)
                and found.get_accessor_name() in self.by_name
                and model
            ):
                yield from self._tie(code, call, model, found)
            model = found.related_model

    def _by_accessor(self, model: Model | None, name: str) -> Any:
        return next(
            (
                relation
                for each, relation in self.by_name.get(name, ())
                if model is not None and issubclass(model, each)
            ),
            None,
        )

    def _tie(
        self, code: Code, node: ast.expr, model: Model, relation: Any
    ) -> Iterator[Coupling]:
        other = relation.related_model
        name = relation.get_accessor_name()
        what = f"{model._meta.label}.{name}: {other._meta.label}"
        target = self.territory.of_model(other)
        if target == self.territory.of_model(model):
            return
        line = node.end_lineno if isinstance(node, ast.Attribute) else 0
        yield from code.tie(node, target, Kind.ACCESSOR, what, line or 0)

    def _queried(self, code: Code, node: ast.AST) -> Model | None:
        """The model whose manager a chain of calls begins with."""
        while True:
            if isinstance(node, ast.Attribute):
                if isinstance(node.value, (ast.Name, ast.Attribute)) and (
                    node.attr in ("objects", "_default_manager")
                ):
                    return code.model(node.value)
                node = node.value
            elif isinstance(node, ast.Call):
                node = node.func
            else:
                return None

    def infer(self, code: Code, node: ast.AST, depth: int = 4) -> Model | None:
        """The model that an expression is likely to be a row of."""
        if not depth:
            return None
        if isinstance(node, ast.Name):
            return self._variable(code, node, depth)
        if isinstance(node, ast.Attribute):
            if node.attr == "user" and called(node.value) == "request":
                return self.territory.user
            base = self.infer(code, node.value, depth - 1)
            if base is not None:
                if base not in self._led_to:
                    self._led_to[base] = dict(related(base))
                return self._led_to[base].get(node.attr)
            # Of something unknown: the name speaks for itself, or nothing does.
            return self.territory.named(node.attr)
        if isinstance(node, ast.Call):
            return self._result(code, node)
        return None

    def _result(self, code: Code, call: ast.Call) -> Model | None:
        name = called(call.func)
        if name in _SHORTCUTS and call.args:
            first = call.args[0]
            return code.model(first) or self._queried(code, first)
        if name in _ONE:
            return self._queried(code, call.func)
        return code.model(call.func)  # A new one.

    def _variable(self, code: Code, node: ast.Name, depth: int) -> Model | None:
        around = code.function(node)
        if node.id == "self":
            for each in code.above(node):
                if isinstance(each, ast.ClassDef):
                    return code.model(ast.Name(each.name))
            return None
        arguments = getattr(around, "args", None)
        for each in (*arguments.args, *arguments.kwonlyargs) if arguments else ():
            if each.arg == node.id and each.annotation is not None:
                return _annotated(code, each.annotation)
        if node.id in code.names:  # A module, class or function.
            return None
        for value, is_row in code.assigned(around, node.id):
            found = (
                self.infer(code, value, depth - 1)
                if is_row
                else self._queried(code, value)  # One of its rows, in a loop.
            )
            if found is not None:
                return found
        return self.territory.named(node.id)


def related(model: Model) -> Iterator[tuple[str, Model | None]]:
    """What the attributes of a model lead to, where that is one row."""
    for field in model._meta.get_fields():
        each: Any = field
        name = each.get_accessor_name() if is_reverse(each) else each.name
        if name and (each.many_to_one or each.one_to_one):
            yield name, each.related_model if _is_model(each.related_model) else None


def _is_model(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, models.Model)


def is_reverse(field: Any) -> bool:
    """It is a relation seen from its other end."""
    return field.auto_created and not field.concrete


def _annotated(code: Code, node: ast.AST) -> Model | None:
    if isinstance(node, ast.BinOp):  # Payment | None
        return _annotated(code, node.left)
    if isinstance(node, ast.Subscript) and called(node.value) == "Optional":
        return _annotated(code, node.slice)
    if text(node):
        return code.model(ast.Name(text(node)))
    return code.model(node)
