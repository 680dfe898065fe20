"""Answers for software: ``application/problem+json``, with types that stay."""

from __future__ import annotations

import json
import math
from enum import Enum
from typing import Any

from django.http import HttpResponse

PREFIX = "urn:django-strangler:idempotency:"


class Problem(Enum):
    """Each with its type's last word, its status and its title."""

    KEY_MISSING = "key-missing", 400, "An Idempotency-Key header is required"
    KEY_INVALID = "key-invalid", 400, "The Idempotency-Key header is not valid"
    BODY_INVALID = "body-invalid", 400, "The body cannot be read"
    BODY_TOO_LARGE = "body-too-large", 413, "The body is too large"
    KEY_REUSED = "key-reused", 422, "The key was used for another request"
    IN_PROGRESS = "in-progress", 409, "The first request is still being handled"
    OUTCOME_UNKNOWN = "outcome-unknown", 409, "The first request's outcome is unknown"
    RESPONSE_NOT_KEPT = "response-not-kept", 409, "The first response was not kept"

    @property
    def type(self) -> str:
        """The URI that a client's software compares."""
        return PREFIX + self.value[0]

    @property
    def status(self) -> int:
        """The response's status."""
        return self.value[1]

    @property
    def title(self) -> str:
        """The same for each response of this type."""
        return self.value[2]


class Refusal(Exception):
    """The request is answered with a problem, and its view does not run."""

    def __init__(
        self, problem: Problem, detail: str, *, after: float | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.after = after  # When to ask again, in seconds.
        self.more = more

    def response(self) -> HttpResponse:
        """The answer to the client."""
        problem = self.problem
        body = {
            "type": problem.type,
            "title": problem.title,
            "status": problem.status,
            "detail": self.detail,
            **self.more,
        }
        response = HttpResponse(
            json.dumps(body),
            status=problem.status,
            content_type="application/problem+json",
        )
        if self.after is not None:
            response["Retry-After"] = str(max(1, math.ceil(self.after)))
        if location := self.more.get("location"):
            response["Location"] = location
        return response
