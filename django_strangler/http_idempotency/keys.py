"""The header ``Idempotency-Key``, and what makes two requests the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest, RawPostDataException
from django.http.multipartparser import MultiPartParserError

from .exceptions import InvalidIdempotentView
from .problems import Problem, Refusal

METHODS = frozenset({"POST", "PATCH"})
LONGEST = 255
# Unquoted, no comma: that is how servers join two headers of one name.
_RAW = re.compile(r"[!#-+\--~][!-+\--~]*")
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
_SEPARATOR = "\x1f"  # Neither a key nor a user's id has it.


def read_key(header: str | None) -> str | None:
    """The key in the header's value, quotes taken off; None without a header."""
    if header is None:
        return None
    text = header.strip(" \t")
    if quoted := _QUOTED.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _RAW.fullmatch(text):
        key = text
    else:
        raise Refusal(Problem.KEY_INVALID, _why_invalid(text))
    if not 1 <= len(key) <= LONGEST:
        raise Refusal(
            Problem.KEY_INVALID,
            f"The key has {len(key)} characters; it must have 1 to {LONGEST}.",
        )
    return key


def _why_invalid(text: str) -> str:
    if not text:
        return "The Idempotency-Key header is empty."
    if text.startswith('"'):
        return (
            "The Idempotency-Key header begins with a quotation mark and is not one "
            'quoted string of visible ASCII characters, such as "order-17".'
        )
    if "," in text:
        return (
            "The Idempotency-Key header was sent more than once, or its key has a "
            'comma. Send one header; a key with a comma must be quoted: "a,b".'
        )
    return (
        "The key has a space, or a character that is not visible ASCII. Use a UUID, or "
        f"1 to {LONGEST} visible ASCII characters."
    )


def digest(scope: str, key: str) -> str:
    """What is unique: exact to the byte, whatever the database's collation."""
    return _sha256(f"{scope}{_SEPARATOR}{key}".encode("utf-8", "surrogatepass"))


def fingerprint(request: HttpRequest, own: bytes | str | None = None) -> str:
    """
    A digest of what the request asks for; nothing of the request itself is kept.

    ``own`` replaces the query and the body, for a view that knows better.
    """
    parts = [str(request.method), request.path]
    if own is None:
        query = parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True)
        parts += [json.dumps(sorted(query)), (request.content_type or "").lower()]
        try:
            parts += _body(request)
        except RequestDataTooBig as error:
            raise Refusal(Problem.BODY_TOO_LARGE, str(error)) from error
        except (MultiPartParserError, SuspiciousOperation) as error:
            raise Refusal(
                Problem.BODY_INVALID, f"The body cannot be read: {error}"
            ) from error
    else:
        parts.append(_sha256(own.encode() if isinstance(own, str) else own))
    return _sha256(json.dumps(parts).encode())


def _body(request: HttpRequest) -> Iterator[str]:
    # A client that repeats a form chooses another boundary each time.
    if request.content_type == "multipart/form-data" and request.method == "POST":
        for name, values in sorted(request.POST.lists()):
            yield json.dumps([name, values])
        for name, files in sorted(request.FILES.lists()):
            yield json.dumps([name, [_file(file) for file in files]])
        return
    try:
        yield _sha256(request.body)
    except RawPostDataException as error:
        raise InvalidIdempotentView(
            "The request's body was read as a stream before @idempotent saw it, so two "
            "requests cannot be compared. Read request.body instead, or pass "
            "fingerprint=."
        ) from error


def _file(file: Any) -> list[str | None]:
    hashed = hashlib.sha256()
    for chunk in file.chunks():
        hashed.update(chunk)
    file.seek(0)  # The view reads it from the start.
    return [file.name, file.content_type, hashed.hexdigest()]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
