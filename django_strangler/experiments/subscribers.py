"""The subscriber that runs candidates later; found as an app's subscribers are."""

from __future__ import annotations

from django_strangler.events import Event
from django_strangler.inbox.subscribers import subscribe

from . import later


@subscribe(later.TYPE, name="strangler-experiments")
def run_candidates(event: Event) -> None:
    """Run the candidates of a control that has answered elsewhere."""
    later.handle(event)
