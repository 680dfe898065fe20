"""
Calls to services: bounded in time, in number and in what they leave behind.

    payments = service("payments")
    answer = payments.post("/charges", json={…}, idempotency_key=…, user=request.user)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .breakers import breaker as breaker
    from .carrying import ContextMiddleware as ContextMiddleware
    from .client import Answer as Answer
    from .client import service as service
    from .deadline import DeadlineMiddleware as DeadlineMiddleware
    from .deadline import within as within
    from .errors import BadAnswer as BadAnswer
    from .errors import CircuitOpen as CircuitOpen
    from .errors import DeadlineExceeded as DeadlineExceeded
    from .errors import FailedAnswer as FailedAnswer
    from .errors import InvalidIdentity as InvalidIdentity
    from .errors import ServiceError as ServiceError
    from .errors import TooManyInFlight as TooManyInFlight
    from .errors import UnknownService as UnknownService
    from .errors import Unreachable as Unreachable
    from .identity import IdentityMiddleware as IdentityMiddleware
    from .identity import issue_identity as issue_identity


# A project that makes no calls need not have urllib3.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
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
