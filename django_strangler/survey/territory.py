"""Territory: which code, models, tables and templates are the project's, and whose."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.db import models

from django_strangler import domains

from .conf import settings

Model = type[models.Model]
OURS = __package__.partition(".")[0]


def base_dir() -> Path:
    """``BASE_DIR``, where the ratchet lies; else the current folder."""
    return Path(getattr(django_settings, "BASE_DIR", None) or Path.cwd()).resolve()


def snake(name: str) -> str:
    """The name that a variable of this class has: ``LedgerEntry``, ``ledger_entry``."""
    return "".join(
        f"_{letter.lower()}"
        if letter.isupper() and place and not name[place - 1].isupper()
        else letter.lower()
        for place, letter in enumerate(name)
    )


class Territory:
    """
    The project as it is loaded.

    An app is the project's unless it lies among installed packages; settings may say
    otherwise. What lies in no app, as the folder of the settings, is a shared domain
    named by its top-level package.
    """

    def __init__(self) -> None:
        self._named = {
            label.partition(".")[0].lower()
            for labels in domains.settings().values()
            for label in labels
        }
        self.split = {  # Apps of which single models belong elsewhere.
            label.partition(".")[0].lower()
            for labels in domains.settings().values()
            for label in labels
            if "." in label
        }
        self.apps = [each for each in apps.get_app_configs() if self._is_ours(each)]
        self.labels = {each.label: domains.domain_of(each.label) for each in self.apps}
        self._by_name = {each.name: self.labels[each.label] for each in self.apps}
        self.roots = self._roots()
        self.models: list[Model] = [
            model
            for config in self.apps
            for model in config.get_models()
            if not model._meta.swapped
        ]
        self.of_module = lru_cache(maxsize=None)(self._of_module)

    def _is_ours(self, config: AppConfig) -> bool:
        if config.name.partition(".")[0] == OURS:
            return False
        if config.label.lower() in self._named:
            return True
        if packages := settings().packages:
            return config.name.partition(".")[0] in packages
        return not _is_installed(Path(config.path))

    def _roots(self) -> dict[str, Path]:
        """The top-level packages, and the folders that hold them."""
        found = {}
        for config in self.apps:
            top, *inner = config.name.split(".")
            found[top] = Path(config.path).resolve().parents[len(inner)]
        top = django_settings.ROOT_URLCONF.partition(".")[0]
        module = sys.modules.get(top)
        file = getattr(module, "__file__", None)
        if file and not _is_installed(Path(file)) and not settings().packages:
            up = 1 if hasattr(module, "__path__") else 0
            found.setdefault(top, Path(file).resolve().parents[up])
        return {
            top: folder
            for top, folder in found.items()
            if not _is_installed(folder) or top in settings().packages
        }

    def add_root(self, top: str) -> bool:
        """Take in what lies beside the apps and is imported by them."""
        if top in self.roots or top == OURS or settings().packages:
            return False
        for folder in set(self.roots.values()):
            if (folder / top).is_dir() or (folder / f"{top}.py").is_file():
                self.roots[top] = folder
                self.of_module.cache_clear()
                return True
        return False

    def _of_module(self, module: str) -> str:
        parts = module.split(".")
        for end in range(len(parts), 0, -1):
            if domain := self._by_name.get(".".join(parts[:end])):
                return domain
        return parts[0] if parts[0] in self.roots else ""

    def of_model(self, model: Model) -> str:
        """The domain of a model; empty if it is not the project's."""
        if model._meta.app_label not in self.labels:
            return ""
        return domains.domain_of(model._meta.label)

    @property
    def shared(self) -> set[str]:
        """Domains that are no app: code that everybody uses."""
        return set(self.roots) - set(self.labels.values())

    def files(self, top: str) -> Iterator[tuple[Path, str]]:
        """The modules of a top-level package."""
        folder = self.roots[top]
        start, is_given = folder / top, top in settings().packages
        paths = (
            sorted(start.rglob("*.py")) if start.is_dir() else [folder / f"{top}.py"]
        )
        for path in paths:
            parts = path.relative_to(folder).with_suffix("").parts
            if not is_excluded(parts) and (is_given or not _is_installed(path)):
                is_package = parts[-1] == "__init__"
                yield path, ".".join(parts[:-1] if is_package else parts)

    @cached_property
    def tables(self) -> dict[str, Model]:
        """The models by table, of many-to-many as well."""
        return {
            model._meta.db_table: model
            for config in self.apps
            for model in reversed(list(config.get_models(include_auto_created=True)))
            if not model._meta.proxy
        }

    @cached_property
    def by_variable(self) -> Mapping[str, list[Model]]:
        """The models by the name that a variable of theirs has."""
        found: dict[str, list[Model]] = {}
        for model in self.models:
            for name in {snake(model.__name__), model._meta.model_name or ""}:
                found.setdefault(name, []).append(model)
        return found

    def named(self, variable: str) -> Model | None:
        """The one model that a variable of this name is likely to be of."""
        found = self.by_variable.get(variable, [])
        return found[0] if len(found) == 1 else None

    @cached_property
    def user(self) -> Model | None:
        """The user's model, if it is the project's."""
        from django.contrib.auth import get_user_model

        model = get_user_model() if apps.is_installed("django.contrib.auth") else None
        return model if model is not None and self.of_model(model) else None


def loaded(path: str) -> Any:
    """What a dotted path leads to, without importing anything; else ``None``."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is not None:
            for name in parts[end:]:
                found = getattr(found, name, None)
            return found
    return None


def model_at(path: str) -> Model | None:
    """The model that a dotted path leads to."""
    found = loaded(path)
    is_model = isinstance(found, type) and issubclass(found, models.Model)
    return found if is_model and hasattr(found, "_meta") else None


def is_excluded(parts: tuple[str, ...]) -> bool:
    """What the setting ``EXCLUDE`` leaves out."""
    return any(
        fnmatchcase(part, pattern)
        for part in parts[1:]
        for pattern in settings().exclude
    )


def _is_installed(path: Path) -> bool:
    resolved = path.resolve()
    in_library = any(resolved.is_relative_to(each) for each in _libraries())
    return in_library or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@lru_cache(maxsize=1)
def _libraries() -> tuple[Path, ...]:
    """Where Python and package managers install."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(paths[name]).resolve() for name in names})
