"""Reading: a module's code, walked once, and what its names stand for."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings

from .couplings import Coupling, Kind
from .territory import Model, Territory, base_dir, loaded, model_at

N = TypeVar("N", bound=ast.AST)
_Assigned = defaultdict[tuple[ast.AST, str], list[tuple[ast.expr, bool]]]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_GIVING = (ast.Assign, ast.NamedExpr, ast.For, ast.AsyncFor, ast.comprehension)
_KEPT = {
    *(ast.Import, ast.ImportFrom, ast.Constant, ast.JoinedStr, ast.Call),
    *(ast.Attribute, ast.ClassDef, *_GIVING),
}
# What has no parts, and is never asked for: more than half of all nodes.
_LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)


@dataclass(frozen=True, slots=True)
class Class:
    """Where a class and its attributes are written."""

    name: str
    file: str
    line: int
    attributes: dict[str, tuple[int, int]]  # First and last line.


@dataclass(slots=True)
class Map:
    """What all modules say together."""

    territory: Territory
    modules: dict[str, str] = field(default_factory=dict)  # Their files.
    classes: dict[str, Class] = field(default_factory=dict)
    signals: dict[str, str] = field(default_factory=dict)  # Their modules.
    _words: dict[str, frozenset[str]] = field(default_factory=dict)

    def place(self, module: str) -> str:
        return self.modules.get(module, module)

    def has(self, path: str, module: str) -> bool:
        """Whether a dotted path into this module leads to something."""
        if module in sys.modules:
            return loaded(path) is not None
        if module not in self._words:
            text = (base_dir() / self.modules[module]).read_text(errors="replace")
            self._words[module] = frozenset(re.findall(r"\w+", text))
        return self._words[module].issuperset(path[len(module) :].split(".")[1:])


class Code:
    """One module."""

    def __init__(self, world: Map, module: str, file: str, source: bytes) -> None:
        self.world = world
        self.territory = world.territory
        self.module = module
        self.file = file
        self.domain = self.territory.of_module(module)
        self.is_package = file.endswith("__init__.py")
        self._nodes: defaultdict[type, list[Any]] = defaultdict(list)
        self._parents: dict[ast.AST, ast.AST] = {}
        self._assigned: _Assigned | None = None
        self.tree = ast.parse(source)
        self._lines = source.decode(errors="replace").splitlines()
        pending: list[ast.AST] = [self.tree]
        while pending:
            node = pending.pop()
            for name in node._fields:
                value = getattr(node, name, None)
                for child in value if value.__class__ is list else (value,):
                    if isinstance(child, ast.AST) and not isinstance(child, _LEAVES):
                        self._parents[child] = node
                        pending.append(child)
                        if child.__class__ in _KEPT:
                            self._nodes[child.__class__].append(child)
        self.names = dict(self._names())

    def all(self, kind: type[N]) -> list[N]:
        """The nodes of a kind."""
        return self._nodes[kind]

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around one, from the inside to the outside."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def domain_at(self, node: ast.AST) -> str:
        """The domain of a line: of the model it belongs to, where apps are split."""
        if self.territory.split:
            for each in self.above(node):
                if isinstance(each, ast.ClassDef) and (
                    model := model_at(f"{self.module}.{each.name}")
                ):
                    return self.territory.of_model(model) or self.domain
        return self.domain

    def tie(
        self, node: ast.AST, target: str, kind: Kind, what: str, line: int = 0
    ) -> Iterator[Coupling]:
        """A coupling, if this node and the target are of two domains."""
        source = self.domain_at(node) if target else ""
        if source and source != target:
            line = line or getattr(node, "lineno", 0)
            yield Coupling(source, target, kind, self.file, what, line)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that ``from … import`` names."""
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        up = node.level - (1 if self.is_package else 0)
        kept = parts[: len(parts) - up] if up else parts
        return ".".join([*kept, *([node.module] if node.module else [])])

    def _names(self) -> Iterator[tuple[str, str]]:
        for each in self.all(ast.ClassDef):
            if self._parents[each] is self.tree:
                yield each.name, f"{self.module}.{each.name}"
        for name in self.all(ast.ImportFrom):
            module = self.absolute(name)
            for alias in name.names:
                yield alias.asname or alias.name, f"{module}.{alias.name}"
        for imported in self.all(ast.Import):
            for alias in imported.names:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, alias.name if alias.asname else top

    def path(self, node: ast.AST | None) -> str:
        """The dotted path that a name or attribute stands for; empty if unknown."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def model(self, node: ast.AST | None) -> Model | None:
        """The model that an expression names."""
        return model_at(path) if (path := self.path(node)) else None

    def is_part(self, node: ast.AST) -> bool:
        """It is a docstring, or a piece of an f-string."""
        return isinstance(self._parents.get(node), (ast.Expr, ast.JoinedStr))

    def written(self, node: ast.expr) -> str:
        """The lines of an expression."""
        return "\n".join(self._lines[node.lineno - 1 : node.end_lineno])

    def is_for_types(self, node: ast.AST) -> bool:
        """It stands under ``if TYPE_CHECKING``."""
        below = node
        for each in self.above(node):
            if (
                isinstance(each, ast.If)
                and below in each.body
                and called(each.test) == "TYPE_CHECKING"
            ):
                return True
            below = each
        return False

    def function(self, node: ast.AST) -> ast.AST:
        """The function around a node; else the module."""
        return next(
            (e for e in self.above(node) if isinstance(e, _FUNCTIONS)), self.tree
        )

    def assigned(self, around: ast.AST, name: str) -> list[tuple[ast.expr, bool]]:
        """What a variable of a function is given; False: as one of these, in a loop."""
        if self._assigned is None:
            self._assigned = defaultdict(list)
            for kind in _GIVING:
                for each in self._nodes[kind]:
                    is_row = kind in (ast.Assign, ast.NamedExpr)
                    targets = each.targets if kind is ast.Assign else [each.target]
                    for target in targets:
                        if isinstance(target, ast.Name):
                            key = (self.function(each), target.id)
                            value = each.value if is_row else each.iter
                            self._assigned[key].append((value, is_row))
        return self._assigned.get((around, name), [])

    def index(self) -> None:
        """Let all others know the classes and signals of this module."""
        for each in self.all(ast.ClassDef):
            self.world.classes[f"{self.module}.{each.name}"] = Class(
                each.name, self.file, each.lineno, dict(_attributes(each.body))
            )
        for statement in self.tree.body:
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Call) and called(value.func).endswith("Signal"):
                for name, _ in _attributes([statement]):
                    self.world.signals[f"{self.module}.{name}"] = self.module

    def relation_lines(self) -> set[int]:
        """The lines on which foreign keys and their like are written."""
        found = set[int]()
        for each in self.all(ast.ClassDef):
            model = model_at(f"{self.module}.{each.name}")
            for known in model._meta.get_fields() if model else ():
                if known.is_relation and not known.auto_created:
                    home = self.world.classes[f"{self.module}.{each.name}"]
                    first, last = home.attributes.get(known.name, (0, -1))
                    found.update(range(first, last + 1))
        return found

    def imported(self) -> set[str]:
        """The top-level packages that are imported here."""
        found = {each.names[0].name for each in self.all(ast.Import)}
        found |= {e.module or "" for e in self.all(ast.ImportFrom) if not e.level}
        return {each.partition(".")[0] for each in found}

    @property
    def is_wiring(self) -> bool:
        """Settings and the root of the URLs name every app, and tie none to another."""
        names = {name for name, _ in _attributes(self.tree.body)}
        return "INSTALLED_APPS" in names or self.module == settings.ROOT_URLCONF


def called(function: ast.AST | None) -> str:
    """The last name of what is called."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def text(node: ast.AST | None) -> str:
    """A string that stands there; else an empty one."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else ""  # type: ignore[union-attr]


def _attributes(body: Iterable[ast.stmt]) -> Iterator[tuple[str, tuple[int, int]]]:
    for each in body:
        targets = each.targets if isinstance(each, ast.Assign) else []
        if isinstance(each, (ast.AnnAssign, ast.AugAssign)):
            targets = [each.target]
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, (each.lineno, each.end_lineno or each.lineno)


def imports(code: Code) -> Iterator[Coupling]:
    """What a module imports, lazily as well, name by name."""
    of_module, of_model = code.territory.of_module, code.territory.of_model

    def target(module: str, path: str) -> str:
        model = model_at(path)
        by_model = of_model(model) if model is not None else ""
        return by_model or of_module(path if path in code.world.modules else module)

    for statement in code.all(ast.Import):
        kind = Kind.TYPES if code.is_for_types(statement) else Kind.IMPORT
        for alias in statement.names:
            yield from code.tie(statement, of_module(alias.name), kind, alias.name)
    for node in code.all(ast.ImportFrom):
        module = code.absolute(node)
        if of_module(module):
            kind = Kind.TYPES if code.is_for_types(node) else Kind.IMPORT
            for alias in node.names:
                path = f"{module}.{alias.name}"
                yield from code.tie(
                    node, target(module, path), kind, path, alias.lineno
                )
