"""What is kept of a response, and how it is given again."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from .claims import Claim, Found
from .exceptions import StreamedResponse
from .problems import Problem, Refusal

REPLAYED = "Idempotent-Replayed"
# What describes the body, or what was made. Never a cookie, a date or a request's id:
# they belong to one exchange.
KEPT = (
    "Content-Type", "Content-Language", "Content-Location", "ETag", "Last-Modified",
    "Link", "Location",
)  # fmt: skip


def finish(response: Any) -> None:
    """Render it now, so that what fails in a template fails in the transaction."""
    if response.streaming:
        raise StreamedResponse(
            "An idempotent view returned a streaming response, whose body cannot be "
            "kept for the next request with this key. Return an HttpResponse: the "
            "file's address, say."
        )
    if callable(getattr(response, "render", None)):
        response.render()


def headers_of(response: HttpResponseBase) -> dict[str, str]:
    """The headers that every answer to this key has."""
    headers = response.headers
    return {name: headers[name] for name in KEPT if name in headers}


def body_of(response: Any, longest: int) -> bytes | None:
    """The body, unless it is too long to be kept."""
    body: bytes = response.content
    return body if len(body) <= longest else None


def replay(found: Found, claim: Claim) -> HttpResponse:
    """The first answer once more."""
    check_same(found, claim)
    if found.body_omitted:
        location = found.headers.get("Location")
        more: dict[str, Any] = {"location": location} if location else {}
        if found.status is not None:
            more["originalStatus"] = found.status
        raise Refusal(
            Problem.RESPONSE_NOT_KEPT,
            "The first request took effect, and its response was not kept. Do not send "
            "it with another key: ask for what it has made.",
            **more,
        )
    response = HttpResponse(found.body, status=found.status, headers=found.headers)
    if "Content-Type" not in found.headers:
        del response["Content-Type"]
    response[REPLAYED] = "true"
    return response


def check_same(found: Found, claim: Claim) -> None:
    """Refuse another request under this key."""
    if found.fingerprint != claim.fingerprint:
        raise Refusal(
            Problem.KEY_REUSED,
            "This key was used for a request with another method, path, query or "
            "body. Take a new key for each thing that you want to happen once.",
        )


def in_progress(after: float) -> Refusal:
    """Ask again soon, with the same key."""
    return Refusal(
        Problem.IN_PROGRESS,
        "A request with this key is being handled. Send this one again, with the same "
        "key.",
        after=after,
    )


def unknown() -> Refusal:
    """Nobody may run the view again before a person has looked."""
    return Refusal(
        Problem.OUTCOME_UNKNOWN,
        "The first request with this key ended half-way, and whether it took effect is "
        "not known. It is being looked into. Do not send it with another key.",
    )
