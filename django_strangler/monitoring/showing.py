"""What the board shows, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One thing that is shown of a domain."""

    domain: str  # As ``domain_of`` says; empty if nobody knows.
    name: str
    text: str = ""
    hold: tuple[str, ...] = ()  # Why the domain must wait, each a sentence.
    left: tuple[str, ...] = ()  # What is not done before legacy may be deleted.
    next: str = ""  # What to do next.
    sources: tuple[str, ...] = ()  # Evidence with a share, whose legacy falls silent.
    quiet: tuple[str, ...] = ()  # Evidence in which nothing may fail any more.
    flags: tuple[str, ...] = ()  # The flags that decide about it.
    # Flags that only say for whom something is compared: they need not reach 100 %.
    shadows: tuple[str, ...] = ()
    since: datetime | None = None  # When it came to be as it should be.
