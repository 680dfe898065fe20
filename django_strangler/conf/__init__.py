"""
The ``STRANGLER`` setting as frozen, typed values.

``current()`` is the core's. An app has a table of its own under one key:
``settings = conf.section("FACADE", FacadeSettings)``, and ``settings()`` is in force.
"""

from __future__ import annotations

from .parsers import (
    Unfit,
    boolean,
    choice,
    dotted_path,
    fraction,
    listing,
    long_text,
    mapping,
    positive,
    seconds,
    text,
)
from .sections import Section, check, current, parse, registered, section
from .tables import RelaySettings, Settings, setting, table

__all__ = [
    "RelaySettings",
    "Section",
    "Settings",
    "Unfit",
    "boolean",
    "check",
    "choice",
    "current",
    "dotted_path",
    "fraction",
    "listing",
    "long_text",
    "mapping",
    "parse",
    "positive",
    "registered",
    "seconds",
    "section",
    "setting",
    "table",
    "text",
]
