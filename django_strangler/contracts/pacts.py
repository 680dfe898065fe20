"""
Pacts: what consumers expect of messages, held against what a real view publishes.

Needs the extra ``pact``. No payload is written by hand for it: what is verified is the
row that the producer has left in the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django_strangler.extras import extra
from django_strangler.models import OutboxEvent

from .exceptions import CannotJudge

with extra("pact"):
    from pact import Verifier


def verify_pacts(
    source: Path | str,
    *,
    provider: str,
    producers: Mapping[str, Callable[[], object]],
) -> None:
    """
    Verify the pacts in a file or folder, inside a test; raises what Pact raises.

    ``producers`` says by a message's description what publishes it: a function that
    runs the view. The last event that it leaves in the outbox is the message.
    """
    # At once and here: Pact asks from a thread, where a test's transaction is not.
    messages: Any = {name: _message(name, make) for name, make in producers.items()}
    Verifier(provider).message_handler(messages).add_source(str(source)).verify()


def _message(name: str, produce: Callable[[], object]) -> dict[str, Any]:
    before = OutboxEvent.objects.order_by("-id").values_list("id", flat=True).first()
    produce()
    row = OutboxEvent.objects.filter(id__gt=before or 0).order_by("-id").first()
    if row is None:
        raise CannotJudge(
            f"The producer of {name!r} has left no event in the outbox. Let it call "
            "what publishes, in a transaction."
        )
    return {
        "contents": row.body.encode(),
        "content_type": "application/json",
        "metadata": {
            "contentType": "application/json",
            "type": row.type,
            "strangler-key": row.key,
            **row.headers,
        },
    }
