"""What a service said, as a response of Django."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from django_strangler.services import ServiceError
from django_strangler.services.client import Exchange

from . import headers
from .routes import Route

WHOLE = 64 * 1024  # Up to this size, an answer is read before anything is sent.
_BODILESS = frozenset({204, 304})


class WholeResponse(HttpResponse):
    """A small answer; several headers of a name stay several, Set-Cookie above all."""

    repeated: tuple[tuple[str, str], ...] = ()

    def items(self) -> Any:
        """What goes on the wire."""
        return chain(super().items(), self.repeated)


class StreamedResponse(StreamingHttpResponse):
    """The same for an answer that is handed on while it comes."""

    repeated: tuple[tuple[str, str], ...] = ()

    def items(self) -> Any:
        """What goes on the wire."""
        return chain(super().items(), self.repeated)


class Stream:
    """The chunks of an answer; closed even if it was never begun."""

    def __init__(self, first: list[bytes], rest: Iterator[bytes], exchange: Exchange):
        self._chunks, self._exchange = chain(first, rest), exchange

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self._exchange.close()


class AsyncStream:
    """The same for ASGI, where Django would read all of it into memory first."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        step: Any = sync_to_async(next, thread_sensitive=False)
        # The empty chunk stands for the end.
        while chunk := await step(self._stream, b""):
            yield chunk

    def close(self) -> None:
        self._stream.close()


def respond(
    request: HttpRequest, route: Route, exchange: Exchange, base: str, seconds: float
) -> HttpResponseBase:
    """
    The response; ServiceError if the answer breaks off before any of it was sent.

    What is short is read at once, so a slow client holds nothing of the service.
    """
    rest = exchange.chunks()
    first: list[bytes] = []
    size, is_whole = 0, False
    announced = exchange.headers.get("Content-Length", "")
    is_long = announced.isdecimal() and int(announced) > WHOLE
    while not is_long and size <= WHOLE and not is_whole:
        chunk = next(rest, b"")
        first.append(chunk)
        size, is_whole = size + len(chunk), not chunk
        if not announced:
            break  # Events, perhaps: they go on as they come.
    if not announced and first and not first[-1]:
        is_whole = True
    response: Any
    if is_whole:
        response = WholeResponse(b"".join(first))
    else:
        exchange.extend(seconds)
        stream = Stream(first, rest, exchange)
        is_async = hasattr(request, "scope")
        chunks: Any = AsyncStream(stream) if is_async else stream
        response = StreamedResponse(chunks)
        if is_async:
            response._resource_closers.append(stream.close)
    response.status_code = exchange.status
    response.reason_phrase = exchange.reason
    _fill(response, request, route, exchange, base)
    return response  # type: ignore[no-any-return]


def _fill(
    response: Any, request: HttpRequest, route: Route, exchange: Exchange, base: str
) -> None:
    del response["Content-Type"]  # Django's guess.
    length = exchange.headers.get("Content-Length")
    if length is not None and exchange.status not in _BODILESS:
        response["Content-Length"] = length
    keep_out = frozenset({settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME})
    for name, value in headers.returned(
        exchange.headers.items(), exchange.headers.get("Connection", ""), keep_out
    ):
        if name.lower() in ("location", "content-location"):
            public = f"{request.scheme}://{request.get_host()}"
            value = headers.location(value, base, route, public)
        if response.has_header(name) or name.lower() == "set-cookie":
            response.repeated = (*response.repeated, (name, value))
        else:
            response[name] = value


def problem(status: int, title: str, detail: str, **more: Any) -> JsonResponse:
    """An error of ours, in the format of RFC 9457."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JsonResponse(
        {**body, **more}, status=status, content_type="application/problem+json"
    )


__all__ = ["ServiceError", "problem", "respond"]
