"""
Calls to services: bounded in time, in number and in what they leave behind.

    payments = service("payments")
    answer = payments.post("/charges", json={…}, idempotency_key=…, user=request.user)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .breakers import breaker
    from .carrying import ContextMiddleware
    from .client import Answer, service
    from .deadline import DeadlineMiddleware, within
    from .errors import (
        BadAnswer,
        CircuitOpen,
        DeadlineExceeded,
        FailedAnswer,
        InvalidIdentity,
        ServiceError,
        TooManyInFlight,
        UnknownService,
        Unreachable,
    )
    from .identity import IdentityMiddleware, issue_identity

__all__ = [
    "Answer",
    "BadAnswer",
    "CircuitOpen",
    "ContextMiddleware",
    "DeadlineExceeded",
    "DeadlineMiddleware",
    "FailedAnswer",
    "IdentityMiddleware",
    "InvalidIdentity",
    "ServiceError",
    "TooManyInFlight",
    "UnknownService",
    "Unreachable",
    "breaker",
    "issue_identity",
    "service",
    "within",
]

# A project that makes no calls need not have urllib3.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "Answer": ".client",
            "BadAnswer": ".errors",
            "CircuitOpen": ".errors",
            "ContextMiddleware": ".carrying",
            "DeadlineExceeded": ".errors",
            "DeadlineMiddleware": ".deadline",
            "FailedAnswer": ".errors",
            "IdentityMiddleware": ".identity",
            "InvalidIdentity": ".errors",
            "ServiceError": ".errors",
            "TooManyInFlight": ".errors",
            "UnknownService": ".errors",
            "Unreachable": ".errors",
            "breaker": ".breakers",
            "issue_identity": ".identity",
            "service": ".client",
            "within": ".deadline",
        },
    )
