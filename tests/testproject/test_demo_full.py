"""``make demo-full`` draws one payment's trace over both languages."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from demo import full
from demo.trace import Span, draw

from .running import environment

COMMAND = [sys.executable, "-m", "demo.full"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_draws_the_trace_from_the_view_to_the_mail(
    postgresql, vhost, notifications_service
):
    done = subprocess.run(
        COMMAND,
        env=environment(
            STRANGLER_TEST_POSTGRESQL_URL=postgresql.url,
            STRANGLER_TEST_RABBITMQ_URL=vhost.url,
        ),
        capture_output=True,
        text=True,
        timeout=500,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    tree = done.stdout.partition("trace:")[2]
    assert "\nPOST payments/<int:payment_id>/complete/ " in tree
    assert re.search(r"\n├─ INSERT strangler_outboxevent ", tree)
    assert re.search(r"\n.─ publish domain-events:payment.completed +relay ", tree)
    assert re.search(r"\n.  └─ notifications process +notifications ", tree)
    assert re.search(r"\n.     ├─ INSERT mails +notifications ", tree)
    assert "3 processes, in Python and JavaScript" in done.stdout
    assert done.stdout.endswith("nobody has noticed.\n")


@pytest.mark.slow
def test_what_cannot_be_had_is_said():
    done = subprocess.run(
        COMMAND,
        env=environment(PATH="/nowhere", NO_INSTALL="1"),
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert done.returncode == 1
    assert "cannot be had: node or npm is not installed" in done.stdout
    assert "Traceback" not in done.stderr


class Halfway:
    """A system whose service never gets the event."""

    def spans(self):
        return [line("a", None, "POST complete/", "monolith")]


def test_what_is_missing_in_the_trace_is_named(monkeypatch):
    monkeypatch.setattr(full, "PATIENCE", 0.0)

    spans, missing = full.collect(Halfway(), 1)

    assert [span.name for span in spans] == ["POST complete/"]
    assert missing == [
        "the relay's publishing",
        "the service's processing",
        "the mail's INSERT",
    ]


def test_a_tree_shows_who_called_whom_and_when():
    spans = [
        line("a", None, "POST complete/", "monolith", 0.0, 0.5),
        line("c", "a", "publish", "relay", 0.5, 1.0),
        line("b", "a", "x", "monolith", 0.0, 0.25, 'INSERT INTO "outbox" (id)'),
    ]

    tree = draw([Span.read(span) for span in spans])

    assert tree.splitlines() == [
        "POST complete/    monolith    500.0 ms  " + "█" * 16,
        "├─ INSERT outbox  monolith    250.0 ms  " + "█" * 8,
        "└─ publish        relay       500.0 ms  " + " " * 16 + "█" * 16,
    ]


def test_spans_of_one_millisecond_stay_in_the_order_of_their_ends():
    spans = [
        line("a", None, "process", "notifications", 0.0, 0.5),
        line("b", "a", "inbox", "notifications", 0.1, 0.3),
        line("c", "a", "mails", "notifications", 0.1, 0.2),
    ]

    tree = draw([Span.read(span) for span in spans])

    assert [text.split()[1] for text in tree.splitlines()[1:]] == ["inbox", "mails"]


def line(id, parent, name, process, start=0.0, end=0.1, statement=""):
    return {
        "spanId": id,
        "parentId": parent,
        "traceId": "1",
        "process": process,
        "name": name,
        "start": start,
        "end": end,
        "attributes": {"db.statement": statement} if statement else {},
    }
