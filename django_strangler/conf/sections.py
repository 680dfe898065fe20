"""
Sections: the keys of ``STRANGLER`` that belong to an app or a module.

Nothing here lists them. A section registers itself when its module is imported; one
that is given before that is looked for under the name of its key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from django.apps import apps
from django.conf import settings

from django_strangler.exceptions import ConfigurationError

from .parsers import Unfit, UnknownKey, inside
from .tables import Settings, keys, table, unknown

T = TypeVar("T")

_PACKAGE = __package__.partition(".")[0]
_BESIDE = {"IDENTITY": "services"}  # A second section of a module.


class Section(Generic[T]):
    """Called, it gives what is in force; ``override_settings`` is seen at once."""

    def __init__(self, name: str, parse: Callable[..., T], default: object) -> None:
        self.name = name
        self.cls = parse if isinstance(parse, type) else None
        self.parse: Callable[[object], T] = table(parse) if self.cls else parse
        self.default = default

    def __call__(self) -> T:
        """The settings in force now."""
        return _without_frames(self._in_force)

    def _in_force(self) -> T:
        cached = in_force()
        if self.name not in cached.sections:
            given = cached.given.get(self.name, self.default)
            try:
                cached.sections[self.name] = inside(self.name, self.parse, given)
            except Unfit as error:
                raise ConfigurationError(str(error)) from None
        value: T = cached.sections[self.name]
        return value


class InForce:
    """What was made of the ``STRANGLER`` that was seen last."""

    def __init__(self, seen: object, given: Mapping[Any, Any], core: Settings) -> None:
        self.seen = seen
        self.given = given  # A copy: it tells when the dict was changed in place.
        self.core = core
        self.sections: dict[str, Any] = {}


def section(
    name: str, parse: Callable[..., T], default: object = MappingProxyType({})
) -> Section[T]:
    """
    Register ``STRANGLER[name]``; the result is called for the settings in force.

    ``parse`` is a table, or a parser of the whole section with a default to parse:
    ``conf.section("CONTEXT", conf.listing(conf.dotted_path), ())``.
    """
    found = _registered[name] = Section(name, parse, default)
    _cache.clear()
    return found


def registered() -> Mapping[str, Section[Any]]:
    """The sections by name, as far as their modules are imported."""
    return MappingProxyType(_registered)


def forget(name: str) -> None:
    """Take a section out again; for tests."""
    del _registered[name]
    _cache.clear()


def current() -> Settings:
    """The core's settings in force now; ``override_settings`` is seen at once."""
    return _without_frames(in_force).core


def parse(given: Any) -> Settings:
    """Check and convert a ``STRANGLER`` dict; name what is wrong with it."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"STRANGLER is a {type(given).__name__}. Make it a dict, such as "
            '{"BROKER_URL": "amqp://…"}.'
        )
    known = keys(Settings)
    others = [key for key in given if key not in known]
    try:
        _check_that_none_has_moved(others)
        for key in others:
            _check_that_it_is_known(key)
        return table(Settings)({key: given[key] for key in given if key in known})
    except Unfit as error:
        raise ConfigurationError(str(error)) from None


def check() -> None:
    """Parse all of it, also the sections of modules that are not yet imported."""
    given = in_force().given
    for name in given:
        if name not in keys(Settings):
            if name not in _registered:
                _import_home(name)
            if name not in _registered:
                raise ConfigurationError(str(_unknown(name)))
            _registered[name]()


def in_force() -> InForce:
    """What was made of ``STRANGLER``; made again only once it has changed."""
    given: Any = getattr(settings, "STRANGLER", None)
    for cached in _cache:
        if cached.seen is given and (given is None or cached.given == given):
            return cached
    core = parse({} if given is None else given)
    found = InForce(given, _copied(given or {}), core)
    _cache[:] = [found]
    return found


def _copied(given: Any) -> Any:
    if isinstance(given, Mapping):
        return {key: _copied(each) for key, each in given.items()}
    return list(given) if isinstance(given, list) else given


def _without_frames(read: Callable[[], T]) -> T:
    """Error reports show the variables of each frame, and there the whole dict is."""
    try:
        return read()
    except ConfigurationError as error:
        raise error.with_traceback(None) from None


def _check_that_it_is_known(key: object) -> None:
    if key in _registered:
        return
    home = _home(key)
    if home is None:
        raise _unknown(key)
    if _is_app(home) and apps.apps_ready and not apps.is_installed(home.name):
        raise UnknownKey(
            f"has settings under {key!r}, and the app that reads them is not "
            f'installed. Add "{home.name}" to INSTALLED_APPS, or remove {key!r}.'
        )


def _unknown(key: object) -> UnknownKey:
    return unknown(key, {**keys(Settings), **_registered})


def _check_that_none_has_moved(given: Sequence[object]) -> None:
    """Say of settings that are now in a table of the core where they are."""
    for name in keys(Settings):
        value: Any = getattr(Settings(), name.lower())
        nested = keys(value.__class__) if is_dataclass(value) else {}
        moved = [key for key in given if key in nested]
        if moved:
            places = ", ".join(f"STRANGLER[{name!r}][{key!r}]" for key in moved)
            raise UnknownKey(
                f"has {', '.join(map(repr, moved))} in an old place. Write {places}."
            )


def _home(key: object) -> ModuleSpec | None:
    """The module of this package that a section would be of."""
    name = _BESIDE.get(str(key), str(key).lower())
    if key != str(key).upper() or not name.isidentifier():
        return None
    return find_spec(f"{_PACKAGE}.{name}")


def _is_app(home: ModuleSpec) -> bool:
    return _has(home, "apps")


def _has(home: ModuleSpec, module: str) -> bool:
    # Asked without importing the package.
    folders = home.submodule_search_locations
    return bool(folders and PathFinder.find_spec(module, list(folders)))


def _import_home(key: object) -> None:
    home = _home(key)
    if home is not None:
        import_module(f"{home.name}.conf" if _has(home, "conf") else home.name)


_registered: dict[Any, Section[Any]] = {}
_cache: list[InForce] = []  # One at most.
