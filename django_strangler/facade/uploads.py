"""The body of a client's request: kept if it is small, handed on if it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest

from django_strangler.services.transport import Upload

from .conf import settings


class Unreadable(Exception):
    """The body cannot be handed on: it was read already, or has no length."""


def body_of(request: HttpRequest) -> bytes | Upload | None:
    """The body to send: bytes can be sent again, an upload cannot."""
    length = content_length(request)
    if length == 0:
        return None
    if hasattr(request, "_body"):
        return request.body
    if getattr(request, "_read_started", False):
        raise Unreadable
    if length is not None and length <= settings().max_kept_body:
        return request.body
    return Upload(_reader(request, length), length)


def content_length(request: HttpRequest) -> int | None:
    """The length that the client announced; None for a body in chunks."""
    meta = request.META
    given = meta.get("CONTENT_LENGTH") or ""
    if "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower():
        return None
    return int(given) if given.isascii() and given.isdecimal() else 0


def _reader(request: HttpRequest, length: int | None) -> Callable[[int], bytes]:
    if length is not None or hasattr(request, "scope"):
        return request.read
    # Django reads nothing from a body without a length, but a server that unpacks
    # chunks says where it ends.
    environ: Any = request.META
    if not environ.get("wsgi.input_terminated"):
        raise Unreadable
    read: Callable[[int], bytes] = environ["wsgi.input"].read
    return read


def keep_if_form(request: HttpRequest) -> None:
    """
    Let a form be read twice: for its CSRF token here, and by the service.

    RequestDataTooBig if it is larger than Django's own limit.
    """
    kind = request.META.get("CONTENT_TYPE", "")
    if kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        request.body  # noqa: B018


__all__ = [
    "RequestDataTooBig",
    "Unreadable",
    "body_of",
    "content_length",
    "keep_if_form",
]
