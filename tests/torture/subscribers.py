"""What the consumers do with an event: one row each, and now and then an error."""

from __future__ import annotations

import random
import time

from django_strangler import subscribe
from django_strangler.events import Event

from .models import Effect
from .publisher import HANDLED


class Clumsy(Exception):
    """A subscriber fails after its effect, which must be undone."""


@subscribe(*HANDLED, name="torture-effects")
def note(event: Event) -> None:
    Effect.objects.create(event=event.id)
    dice = random.random()
    if dice < 0.005:
        raise Clumsy
    if dice < 0.01:
        time.sleep(0.05)
