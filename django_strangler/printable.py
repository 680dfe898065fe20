"""Text as a terminal and a plain-text log may show it: escaped, and with counts."""

from __future__ import annotations

import logging
import traceback


def printable(text: object, *, keep: str = "", most: int = 0) -> str:
    """
    The text with every character that does something replaced by its escape.

    An escape sequence moves a terminal's cursor, and a line break forges a line of the
    log. ``keep`` holds characters that may stay, such as ``"\\n"``; a text of more than
    ``most`` characters is cut.
    """
    text = str(text)
    if most and len(text) > most:
        text = f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(
        # Also what turns the direction of writing around, and half a surrogate pair.
        each if each.isprintable() or each in keep else ascii(each)[1:-1]
        for each in text
    )


def is_unicode(text: str) -> bool:
    """Whether it can be written: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def how_many(count: int, noun: str, plural: str = "") -> str:
    """As in ``1 event`` and ``2,000 events``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def are(count: int, noun: str, plural: str = "") -> str:
    """As in ``1 event is`` and ``2,000 events are``."""
    return f"{how_many(count, noun, plural)} {'is' if count == 1 else 'are'}"


def times(count: int) -> str:
    """As in ``once`` and ``2 times``."""
    return "once" if count == 1 else f"{count:,} times"


class PlainTracebacks(logging.Filter):
    """
    Makes a record's traceback printable, where a formatter writes it as text.

    An exception may quote what came from outside. Handlers that take the exception
    itself, for an error tracker say, get it unchanged.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            parts = traceback.format_exception(record.exc_info[1])
            record.exc_text = "".join(map(_plain, parts)).rstrip("\n")
        return True


def _plain(part: str) -> str:
    # Only what Python indents, or says itself, may have several lines: the text of an
    # error could begin one that looks like another record.
    is_own = part.startswith((" ", "\n"))
    text = part if is_own else part.removesuffix("\n")
    return printable(text, keep="\n" if is_own else "") + ("" if is_own else "\n")
