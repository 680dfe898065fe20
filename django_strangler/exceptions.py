"""What can go wrong, one class per cause. Each message says what to do."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


def shown(value: object) -> str:
    """A value as error messages show it: short, and never an error itself."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  An integer of 5,000 digits, say, or a broken __repr__.
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


class StranglerError(Exception):
    """The base of every error that django-strangler raises on purpose."""


class ConfigurationError(StranglerError, ImproperlyConfigured):
    """The ``STRANGLER`` setting holds a key or a value that cannot be used."""


class OutsideTransaction(StranglerError):
    """An event was published with no transaction open."""


class InsideTransaction(StranglerError):
    """A relay was started with a transaction open."""


class InvalidEvent(StranglerError, ValueError):
    """The base of what can be wrong with one event; nothing was written."""


class InvalidType(InvalidEvent):
    """The event's type is not dotted words, or too long."""


class InvalidKey(InvalidEvent):
    """The key is neither a usable text nor a saved model instance."""


class InvalidPayload(InvalidEvent):
    """JSON, or one of the databases, cannot hold this payload unchanged."""


class PayloadTooLarge(InvalidPayload):
    """The encoded payload is larger than ``MAX_PAYLOAD_BYTES``."""


class InvalidHeader(InvalidEvent):
    """A header's name or value is not allowed on the wire."""


class InvalidDelay(InvalidEvent):
    """The delay is negative, not a duration, or a naive datetime."""


class IdempotencyConflict(StranglerError):
    """The idempotency key was used before, for another event."""


class OutboxUnavailable(StranglerError):
    """The database alias does not exist, or has no outbox table."""


class InvalidSubscriber(StranglerError):
    """A subscriber cannot be registered like this."""


class BrokenTransaction(StranglerError):
    """A subscriber ended or broke the transaction that its inbox row is in."""


class BrokerError(StranglerError):
    """The broker cannot be used as it is configured."""


class BrokerUnreachable(BrokerError):
    """No broker answered."""


class ConsumerUnhealthy(StranglerError):
    """So many subscribers hang that a consumer cannot go on."""


class InvalidFlag(StranglerError, ValueError):
    """The base of what can be wrong with a flag; nothing was written."""


class InvalidFlagName(InvalidFlag):
    """The name is not a slug."""


class InvalidSalt(InvalidFlag):
    """The salt cannot be hashed the same way everywhere."""


class InvalidPercentage(InvalidFlag):
    """Not between 0 and 100, or finer than 0.01."""


class InvalidSubject(InvalidFlag, TypeError):
    """Neither a user nor an id."""


class InvalidRamp(InvalidFlag):
    """The schedule goes back in time, or is none."""


class InsideEventLoop(StranglerError):
    """A flag was asked in async code, by a function that may have to query."""


class UnknownFlag(StranglerError, LookupError):
    """There is no flag of that name to change."""


class AppendOnly(StranglerError):
    """History is written once."""


class InvalidEvidence(StranglerError, ValueError):
    """Evidence was noted of something that is not a source, or of a third side."""


class InvalidGuard(InvalidFlag):
    """A guard has no source, no such action, or a limit that cannot be used."""
