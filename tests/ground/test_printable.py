"""Text from outside draws on no terminal and forges no line of a log."""

from __future__ import annotations

import io
import logging

import pytest

from django_strangler.printable import PlainTracebacks, are, how_many, printable, times

HOSTILE = "a\x1b[2J\r\nid: forged\x9b31m\u202egnp.exe\u2028\ud800\x00"


def test_what_can_be_printed_stays_as_it_is():
    assert printable("Zoë paid 5 € · 支付 'x' \\n") == "Zoë paid 5 € · 支付 'x' \\n"


def test_no_character_that_does_something_is_left():
    shown = printable(HOSTILE)

    assert shown.isprintable()
    assert shown == (r"a\x1b[2J\r\nid: forged\x9b31m\u202egnp.exe\u2028\ud800\x00")
    shown.encode()  # Any handler can write it.


def test_line_breaks_stay_where_they_are_asked_for():
    assert printable("a\nb\rc", keep="\n") == "a\nb\\rc"


@pytest.mark.parametrize("value", [None, 7, ValueError("\x07")])
def test_anything_can_be_shown(value):
    assert printable(value) == str(value).replace("\x07", r"\x07")


def test_a_long_text_is_cut():
    assert printable("x" * 100, most=10) == "x" * 9 + "…"


def test_a_traceback_is_printable_and_the_exception_stays():
    stream, seen = io.StringIO(), []
    logger = logging.getLogger("test_printable")
    logger.addFilter(PlainTracebacks())
    logger.addHandler(logging.StreamHandler(stream))
    keeping = logging.Handler()
    keeping.emit = seen.append
    logger.addHandler(keeping)
    error = ValueError(HOSTILE)

    logger.error("It failed.", exc_info=error)

    lines = stream.getvalue().splitlines(keepends=True)
    assert all(line.rstrip("\n").isprintable() for line in lines)
    assert r"ValueError: a\x1b[2J\r\nid: forged" in stream.getvalue()
    assert not any(line.startswith("id:") for line in lines)
    assert seen[0].exc_info[1] is error


def test_what_is_counted_is_said_as_people_say_it():
    assert [how_many(count, "event") for count in (0, 1, 2000)] == [
        "0 events",
        "1 event",
        "2,000 events",
    ]
    assert how_many(2, "delivery", "deliveries") == "2 deliveries"
    assert [are(1, "lane"), are(2, "lane")] == ["1 lane is", "2 lanes are"]
    assert [times(1), times(2)] == ["once", "2 times"]
