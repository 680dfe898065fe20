"""
Faces: packages whose names are resolved when they are used.

Django imports a package before its models may be loaded, and what a project does not
use should not be imported at all. Checkers of types read the imports beside: there,
``as`` says that a name is for others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def face(
    package: str, homes: Mapping[str, str]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """
    The ``__all__``, the ``__getattr__`` and the ``__dir__`` of a package.

    ``homes`` says in which module each name is: ``{"service": ".client"}``. A name that
    is the module's own, as in ``{"evidence": ".evidence"}``, is the module.
    """

    def resolve(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(homes[name], package)
        is_module = homes[name] == f".{name}"
        value = home if is_module else getattr(home, name)
        # Kept: what is asked for often, costs no more than any other global.
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return sorted(homes), resolve, names
