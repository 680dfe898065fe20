"""How Sphinx builds these pages; `make docs` turns every warning into an error."""

from __future__ import annotations

import importlib.metadata

from pygments.lexers.sql import PostgresLexer
from sphinx.application import Sphinx

project = "django-strangler"
copyright = "the django-strangler developers"
release = importlib.metadata.version(project)

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "django-strangler"
exclude_patterns = ["_build"]
nitpicky = True


def setup(app: Sphinx) -> None:
    """Let ``sql`` be PostgreSQL's: ``$1`` and ``$$`` are none of the standard's."""
    app.add_lexer("sql", PostgresLexer)
