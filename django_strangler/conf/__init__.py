"""
The ``STRANGLER`` setting as frozen, typed values.

``current()`` is the core's. An app has a table of its own under one key:
``settings = conf.section("FACADE", FacadeSettings)``, and ``settings()`` is in force.
"""

from __future__ import annotations

from .parsers import Unfit as Unfit
from .parsers import boolean as boolean
from .parsers import choice as choice
from .parsers import dotted_path as dotted_path
from .parsers import fraction as fraction
from .parsers import listing as listing
from .parsers import long_text as long_text
from .parsers import mapping as mapping
from .parsers import positive as positive
from .parsers import seconds as seconds
from .parsers import text as text
from .sections import Section as Section
from .sections import check as check
from .sections import current as current
from .sections import parse as parse
from .sections import registered as registered
from .sections import section as section
from .tables import RelaySettings as RelaySettings
from .tables import Settings as Settings
from .tables import setting as setting
from .tables import table as table
