"""What the author of a view, not its client, has done wrong."""

from __future__ import annotations

from django_strangler.exceptions import StranglerError


class InvalidIdempotentView(StranglerError):
    """The view, or an option of it, cannot be made idempotent like this."""


class MissingScope(InvalidIdempotentView):
    """Nobody is logged in, and the view does not say whose keys these are."""


class StreamedResponse(InvalidIdempotentView):
    """The view returned a streaming response, whose body nobody can keep."""


class ClaimLost(StranglerError):
    """The lease of a view in mode "steps" ran out, and another request took over."""
