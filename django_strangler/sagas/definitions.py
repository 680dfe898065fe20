"""Declaring a saga: its steps in the order in which they are done."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from django.utils.module_loading import autodiscover_modules

from .exceptions import InvalidSaga, UnknownSaga
from .rules import Kind, Step

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_COMMAND = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A step as it is written in a class, before it has a name."""

    step: Step


class Saga:
    """
    The base of a saga's class; its steps are class attributes, in order.

    A running saga keeps the version that it began with, so an old class stays until no
    row needs it.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    steps: ClassVar[tuple[Step, ...]] = ()


def step(
    command: str,
    *,
    undo: str | None = None,
    timeout: float = 60,
    retries: int = 3,
    trusted: Collection[str] = (),
) -> Any:
    """
    A step, undone by ``undo`` if a later one fails; after the pivot, never.

    With ``trusted``, a reply counts only if one of these users of the broker has
    published it, and the broker vouches for that.
    """
    return _declare(command, undo, timeout, retries, Kind.UNDOABLE, trusted)


def pivot(
    command: str,
    *,
    timeout: float = 60,
    retries: int = 5,
    trusted: Collection[str] = (),
) -> Any:
    """The step that decides: once it is done, the saga only goes forward."""
    return _declare(command, None, timeout, retries, Kind.PIVOT, trusted)


def _declare(
    command: str,
    undo: str | None,
    timeout: float,
    retries: int,
    kind: Kind,
    trusted: Collection[str],
) -> Declared:
    for type in (command, undo):
        if type is not None and not _COMMAND.fullmatch(str(type)):
            raise InvalidSaga(
                f"{type!r} is not a command. Write a service and a verb: "
                '"stock.reserve".'
            )
    if timeout <= 0 or retries < 0:
        raise InvalidSaga(
            f"The step {command!r} has timeout={timeout!r} and retries={retries!r}. "
            "Let it wait for more than 0 seconds, and try again 0 times or more."
        )
    if isinstance(trusted, str) or not all(
        isinstance(each, str) and each for each in trusted
    ):
        raise InvalidSaga(
            f"The step {command!r} trusts {trusted!r:.200}. Give a list of the "
            'broker\'s users, trusted=["payments"], or leave it out.'
        )
    found = Step(
        name="",
        command=command,
        undo=undo,
        timeout=timeout,
        retries=retries,
        kind=kind,
        trusted=tuple(trusted),
    )
    return Declared(step=found)


SagaT = TypeVar("SagaT", bound=type[Saga])


def saga(name: str, *, version: int = 1) -> Callable[[SagaT], SagaT]:
    """Register a class of steps under a name and a version."""
    if not _NAME.fullmatch(str(name)) or type(version) is not int or version < 1:
        raise InvalidSaga(
            f"{name!r}, version {version!r}, does not name a saga. Use up to 100 "
            "lower-case letters, digits, dots, - and _, and versions from 1."
        )

    def register(cls: SagaT) -> SagaT:
        cls.name, cls.version, cls.steps = name, version, _steps(name, cls)
        registry.add(cls)
        return cls

    return register


def _steps(name: str, cls: type[Saga]) -> tuple[Step, ...]:
    found: list[Step] = []
    for attribute, value in vars(cls).items():
        if not isinstance(value, Declared):
            continue
        step = replace(value.step, name=attribute)
        if any(each.kind is Kind.PIVOT for each in found):
            if step.kind is Kind.PIVOT or step.undo is not None:
                raise InvalidSaga(
                    f"{cls.__qualname__}.{attribute} stands behind the pivot, where "
                    "nothing is undone: remove undo=, and let one step be the pivot."
                )
            step = replace(step, kind=Kind.RETRIABLE)
        found.append(step)
    if not found:
        raise InvalidSaga(f"The saga {name!r} has no steps. Declare one with step().")
    return tuple(found)


class Registry:
    """The sagas of this process, found in each app's ``sagas`` module at first use."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], type[Saga]] = {}
        self._lock = threading.RLock()
        self._discovered = False

    def add(self, cls: type[Saga]) -> None:
        """Register it, unless another has its name and version."""
        known = self._known.setdefault((cls.name, cls.version), cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise InvalidSaga(
                f"Two sagas are named {cls.name!r}, version {cls.version}: "
                f"{known.__qualname__} and {cls.__qualname__}. Raise the version of "
                "the newer one."
            )
        self._known[cls.name, cls.version] = cls

    def all(self) -> Mapping[tuple[str, int], type[Saga]]:
        """Every saga by name and version."""
        self.discover()
        return dict(self._known)

    def discover(self) -> None:
        """Import each app's ``sagas`` module, which has its participants as well."""
        with self._lock:
            if not self._discovered:
                self._discovered = True
                autodiscover_modules("sagas")

    def newest(self, name: str) -> type[Saga]:
        """The version with which a saga begins."""
        versions = [version for known, version in self.all() if known == name]
        if not versions:
            known = ", ".join(sorted({name for name, _ in self.all()})) or "none"
            raise UnknownSaga(
                f"There is no saga {name!r}. Known: {known}. A saga is declared in the "
                "module sagas of an app."
            )
        return self.all()[name, max(versions)]

    def get(self, name: str, version: int) -> type[Saga]:
        """The class of a row."""
        try:
            return self.all()[name, version]
        except KeyError:
            raise UnknownSaga(
                f"A saga {name!r}, version {version}, is under way, and there is no "
                "code for it any more. Keep the class until its last saga has ended."
            ) from None


registry = Registry()
