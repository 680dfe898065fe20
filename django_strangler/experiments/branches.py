"""Branch by abstraction: one interface, two implementations, a flag for each call."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar, overload

from django.utils.module_loading import import_string

from django_strangler import evidence
from django_strangler.feature_flags.evaluation import is_enabled

from .exceptions import InvalidExperiment
from .factory import experiment
from .registry import Branch, branches

I = TypeVar("I")  # noqa: E741  The interface.


@overload
def branch(
    flag: str,
    *,
    legacy: str,
    modern: object,
    interface: type[I],
    shadow: str | None = None,
    subject: Callable[..., Any] | None = None,
    **options: Any,
) -> I: ...
@overload
def branch(
    flag: str,
    *,
    legacy: str,
    modern: object,
    shadow: str | None = None,
    subject: Callable[..., Any] | None = None,
    **options: Any,
) -> Any: ...
@overload
def branch(
    flag: str,
    *,
    legacy: type[I],
    modern: object,
    shadow: str | None = None,
    subject: Callable[..., Any] | None = None,
    **options: Any,
) -> I: ...
@overload
def branch(
    flag: str,
    *,
    legacy: I,
    modern: object,
    shadow: str | None = None,
    subject: Callable[..., Any] | None = None,
    **options: Any,
) -> I: ...
def branch(
    flag: str,
    *,
    legacy: Any,
    modern: Any,
    interface: type[Any] | None = None,
    shadow: str | None = None,
    subject: Callable[..., Any] | None = None,
    **options: Any,
) -> Any:
    """
    One object whose calls go to ``modern`` where the flag is on, else to ``legacy``.

    Both are instances, classes that are called without arguments, or dotted paths to
    such; they are made when first used. ``subject`` is given the arguments of each call
    and says whose flag counts. With ``shadow``, the name of a second flag, legacy
    answers and modern is compared with it, as an experiment named like the branch's
    flag that takes the other ``options`` of ``experiment()``. For a type checker the
    result is what ``legacy`` is, or ``interface``.
    """
    if options and shadow is None:
        raise InvalidExperiment(
            f"The branch {flag!r} has the options {', '.join(sorted(options))} of an "
            "experiment, but no shadow= flag that says for whom it runs."
        )
    branches[flag] = Branch(shadow=shadow, module=_module(legacy))
    return _Branch(flag, legacy, modern, interface, shadow, subject, options)


def slug(flag: str) -> str:
    """How the names of a branch's experiments begin."""
    return flag.lower().replace("_", "-")


def _module(given: Any) -> str:
    if isinstance(given, str):
        return given.rpartition(".")[0]
    return (given if isinstance(given, type) else type(given)).__module__


class _Branch:
    def __init__(
        self,
        flag: str,
        legacy: Any,
        modern: Any,
        interface: type[Any] | None,
        shadow: str | None,
        subject: Callable[..., Any] | None,
        options: dict[str, Any],
    ) -> None:
        self._flag, self._interface = flag, interface
        self._sides = {"legacy": _Side(flag, legacy), "modern": _Side(flag, modern)}
        self._shadow, self._subject, self._options = shadow, subject, options

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        # Kept on the instance, so that the next call finds it at once.
        method = self.__dict__[name] = self._method(name)
        return method

    def __repr__(self) -> str:
        return f"<branch {self._flag!r}>"

    def _method(self, name: str) -> Callable[..., Any]:
        if self._interface is not None and not hasattr(self._interface, name):
            raise AttributeError(
                f"The interface {self._interface.__qualname__} of the branch "
                f"{self._flag!r} has no {name!r}."
            )
        flag, subject, source = self._flag, self._subject, f"branch:{self._flag}"
        legacy, modern = self._of("legacy", name), self._of("modern", name)
        if self._shadow is not None:
            compared = experiment(
                f"{slug(flag)}.{name.lower().replace('_', '-')}",
                candidate=lambda *args, **kwargs: modern()(*args, **kwargs),
                flag=self._shadow,
                subject=subject,
                **self._options,
            )
            answer = compared(lambda *args, **kwargs: legacy()(*args, **kwargs))
        else:
            answer = lambda *args, **kwargs: legacy()(*args, **kwargs)  # noqa: E731

        def call(*args: Any, **kwargs: Any) -> Any:
            user = None if subject is None else subject(*args, **kwargs)
            is_modern = is_enabled(flag, user)
            function = modern() if is_modern else answer
            began, ok = time.perf_counter(), False
            try:
                result = function(*args, **kwargs)
                ok = True
                return result
            finally:
                evidence.note(
                    source,
                    side="modern" if is_modern else "legacy",
                    ok=ok,
                    seconds=time.perf_counter() - began,
                )

        call.__name__ = name
        return call

    def _of(self, side: str, name: str) -> Callable[[], Callable[..., Any]]:
        return lambda: self._sides[side].method(name)


class _Side:
    """One implementation, made when it is first needed."""

    def __init__(self, flag: str, given: Any) -> None:
        self._flag, self._given = flag, given
        self._made: Any = None

    def method(self, name: str) -> Callable[..., Any]:
        if self._made is None:
            given = self._given
            found = import_string(given) if isinstance(given, str) else given
            self._made = found() if isinstance(found, type) else found
        method: Any = getattr(self._made, name)
        if inspect.iscoroutinefunction(method):
            raise InvalidExperiment(
                f"{type(self._made).__qualname__}.{name} of the branch {self._flag!r} "
                "is async. Both sides of a branch are plain functions, so that they "
                "can share a transaction and be compared: call async code by "
                "asgiref's async_to_sync()."
            )
        return method  # type: ignore[no-any-return]
