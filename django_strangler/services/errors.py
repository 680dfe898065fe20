"""What can go wrong in a call to a service, one class per cause."""

from __future__ import annotations

from django_strangler.exceptions import StranglerError


class ServiceError(StranglerError):
    """
    The base: a call has no answer.

    ``reached`` tells whether the service can have seen any of the request. A request
    that is not safe may be sent elsewhere only while this is False.
    """

    reached = False

    def __init__(self, message: str, *, reached: bool = False) -> None:
        super().__init__(message)
        self.reached = reached


class UnknownService(ServiceError, LookupError):
    """``STRANGLER["SERVICES"]`` has no service of that name."""


class CircuitOpen(ServiceError):
    """
    The breaker refuses the call; ``retry_after`` is in seconds.

    ``is_lasting``: the service answers with errors, or was not back at the first probe.
    """

    def __init__(
        self, message: str, *, retry_after: float = 0.0, is_lasting: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_lasting = is_lasting


class TooManyInFlight(CircuitOpen):
    """As many calls as ``MAX_IN_FLIGHT`` allows wait for the service already."""


class DeadlineExceeded(ServiceError, TimeoutError):
    """The time for the call, or for the whole request, is over."""


class Unreachable(ServiceError):
    """The service could not be connected to, or broke the connection."""


class BadAnswer(ServiceError):
    """What the service sent is not HTTP, is too large, or was cut off."""


class FailedAnswer(ServiceError):
    """The answer is 4xx or 5xx, and the caller asked for an error: ``answer``."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message, reached=True)
        self.status = status


class InvalidIdentity(StranglerError):
    """The token in ``Strangler-Identity`` cannot be believed."""
