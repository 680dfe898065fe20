"""Fenced blocks of a Markdown page, those in HTML comments included."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(each for each in sorted(ROOT.glob("docs/**/*.md")) if "_build" not in each.parts),
]
_OPENING = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    page: Path
    line: int  # Of its first line of code, counted from 1.
    language: str  # "python"; "{code-block}" and its like for directives.
    words: tuple[str, ...]  # What stands behind the language: "no-run".
    code: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    """Every fenced block of the page, from top to bottom."""
    lines = iter(enumerate(page.read_text().splitlines(), start=1))
    for number, line in lines:
        opening = _OPENING.match(line)
        if opening is None:
            continue
        body = []
        for _, inner in lines:
            bare = inner.strip()
            if bare.startswith(opening["fence"]) and not bare.strip(bare[0]):
                break
            body.append(inner)
        else:
            raise ValueError(f"{page}:{number}: this block is never closed")
        language, *words = opening["info"].split() or [""]
        yield Fence(
            page=page,
            line=number + 1,
            language=language,
            words=tuple(words),
            code=textwrap.dedent("\n".join(body)) + "\n",
        )


def written_in(language: str) -> list[Fence]:
    """The blocks of all pages in this language, but for those that run elsewhere."""
    return [
        fence
        for page in PAGES
        for fence in fences(page)
        if fence.language == language
        and not {"no-run", "apart"} & set(fence.words)
        # Those that are files are typed in by tests/first_run.
        and not any("/" in word for word in fence.words)
    ]


def shown(page: Path) -> str:
    """A page's name in a test's."""
    return str(page.relative_to(ROOT))


def by_place(fence: Fence) -> str:
    """The same of a block."""
    return f"{shown(fence.page)}:{fence.line}"
