"""Templates: which there are, whose they are, and what they reach for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.db import models
from django.template.backends.django import get_installed_libraries
from django.template.utils import get_app_template_dirs

from .accessors import is_reverse
from .couplings import Coupling, Kind
from .territory import Model, Territory, base_dir, is_excluded

_COMMENT = re.compile(r"\{#.*?#\}|\{%-?\s*comment\b(?s:.*?)\bendcomment\s*-?%\}")
_NAMED = re.compile(r"""\{%-?\s*(extends|include|url|load)\s+([^%]*)%\}""")
_QUOTED = re.compile(r"""^["']([^"']+)["']""")
_CODE = re.compile(r"\{\{(.*?)\}\}|\{%(.*?)%\}")
_TEXTS = re.compile(r"""'[^']*'|"[^"]*\"""")
_PATH = re.compile(r"(?<![\w.|:])([a-z_]\w*)((?:\.[a-z_]\w*)+)")
_SUFFIXES = {".html", ".txt", ".xml", ".jinja", ".jinja2", ".mjml", ".md", ".email"}


class Templates:
    """The templates of the project."""

    def __init__(self, territory: Territory) -> None:
        self.territory = territory
        self.paths = dict(self._find())  # Their names and domains.
        owners: dict[str, set[str]] = {}
        for name, domain in self.paths.values():
            owners.setdefault(name, set()).add(domain)
        self.whose: Mapping[str, str] = {
            name: next(iter(found)) for name, found in owners.items() if len(found) == 1
        }
        self._libraries = get_installed_libraries()
        self._reached: dict[Model, dict[str, Model | None]] = {}

    def _find(self) -> Iterator[tuple[Path, tuple[str, str]]]:
        folders: dict[Path, str] = {}
        backends: list[Any] = django_settings.TEMPLATES
        for backend in backends:
            folders.update({Path(folder): "" for folder in backend.get("DIRS", ())})
        apps = {Path(each.path).resolve(): each.label for each in self.territory.apps}
        for name in ("templates", "jinja2"):
            for folder in map(Path, get_app_template_dirs(name)):
                if label := apps.get(folder.resolve().parent):
                    folders[folder] = self.territory.labels[label]
        for folder, owner in folders.items():
            for path in sorted(folder.rglob("*")):
                parts = path.relative_to(folder).parts
                if path.suffix in _SUFFIXES and not is_excluded(("", *parts)):
                    # Where one folder holds everybody's, the label comes first.
                    domain = owner or self.territory.labels.get(parts[0], "")
                    if domain:
                        yield path.resolve(), ("/".join(parts), domain)

    def couplings(self, path: Path, urls: Mapping[str, str]) -> Iterator[Coupling]:
        """What one template names and reaches for."""
        _, domain = self.paths[path]
        base = base_dir()
        file = str(path.relative_to(base) if path.is_relative_to(base) else path)
        seen = set[tuple[str, str]]()
        text = _COMMENT.sub(
            lambda comment: "\n" * comment[0].count("\n"),
            path.read_text(errors="replace"),
        )
        for number, line in enumerate(text.splitlines(), 1):
            if "{" not in line:
                continue
            for target, kind, what in (
                *self._named(line, urls),
                *self._reached_by(line),
            ):
                if target and target != domain and (target, what) not in seen:
                    seen.add((target, what))
                    yield Coupling(domain, target, kind, file, what, number)

    def _named(
        self, line: str, urls: Mapping[str, str]
    ) -> Iterator[tuple[str, Kind, str]]:
        for tag, rest in _NAMED.findall(line):
            quoted = _QUOTED.match(rest)
            name = quoted[1] if quoted else ""
            if tag == "url" and name:
                yield urls.get(name, ""), Kind.URL, f"url {name}"
            elif tag == "load":
                for each in rest.split():
                    module = self._libraries.get(each, "")
                    yield (
                        self.territory.of_module(module),
                        Kind.TEMPLATE,
                        f"tags {each}",
                    )
            elif name:
                yield self.whose.get(name, ""), Kind.TEMPLATE, name

    def _reached_by(self, line: str) -> Iterator[tuple[str, Kind, str]]:
        """Paths from the name of a model, along fields that are there."""
        for found in _CODE.findall(line):
            for root, rest in _PATH.findall(_TEXTS.sub("", "".join(found))):
                names = rest.split(".")[1:]
                if root == "request" and names[0] == "user":
                    root, names = "user", names[1:]
                model = self.territory.named(root)
                if root == "user":
                    model = self.territory.user
                if model is not None and names:
                    for reached in self._along(model, names):
                        yield (
                            self.territory.of_model(reached),
                            Kind.TEMPLATE,
                            reached._meta.label,
                        )

    def _along(self, model: Model, names: list[str]) -> Iterator[Model]:
        for name in names:
            fields = self._fields(model)
            if name not in fields and not hasattr(model, name):
                return
            yield model
            following = fields.get(name)
            if following is None:
                return
            model = following
        yield model

    def _fields(self, model: Model) -> dict[str, Model | None]:
        if model not in self._reached:
            self._reached[model] = dict(_fields(model))
        return self._reached[model]


def _fields(model: Model) -> Iterator[tuple[str, Model | None]]:
    for field in model._meta.get_fields():
        each: Any = field
        name = each.get_accessor_name() if is_reverse(each) else each.name
        other = each.related_model if each.is_relation else None
        is_model = isinstance(other, type) and issubclass(other, models.Model)
        if name:
            yield name, other if is_model else None
