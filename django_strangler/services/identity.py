"""
Whom a call is for: a token of a minute, signed by the monolith, for one service.

EdDSA (Ed25519) and nothing else: the key decides the algorithm, never the token. It
names a user by the primary key and says nothing else about them. For a request that is
not safe it also names method and path, so that a stolen one repeats that request only.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from django.core.cache import caches
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from django_strangler.exceptions import ConfigurationError
from django_strangler.extras import extra

from .client import Service
from .conf import ServiceSettings
from .conf import identity as settings
from .errors import InvalidIdentity
from .issuing import (
    HEADER,
    MAX_BYTES,
    TYPE,
    headers_for,
    issue_identity,
    jwk_set,
    own_keys,
)
from .retries import SAFE_METHODS

with extra("services"):
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PublicKey,
    )

__all__ = [
    "HEADER",
    "Identity",
    "IdentityMiddleware",
    "KeySet",
    "UnknownKey",
    "headers_for",
    "identify",
    "issue_identity",
    "jwk_set",
    "keys_view",
    "parse_jwk_set",
    "verify",
]

REFETCH = 30.0  # Seconds between two fetches for keys that are not known.

_REQUIRED = ["exp", "iat", "aud", "iss", "sub", "jti"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a request is for, as its caller's signature says."""

    subject: str = ""  # The user's primary key as text; empty for nobody.
    claims: Mapping[str, Any] | None = None

    @property
    def is_anonymous(self) -> bool:
        return not self.subject


ANONYMOUS = Identity()


def verify(
    token: str,
    keys: Mapping[str, Ed25519PublicKey],
    *,
    audience: str,
    issuer: str,
    leeway: float = 5.0,
    ttl: float = 60.0,
) -> dict[str, Any]:
    """The claims of a token; InvalidIdentity if any of them cannot be believed."""
    try:
        if len(token) > MAX_BYTES:
            raise InvalidIdentity("The token is too long.")
        head = jwt.get_unverified_header(token)
        if head.get("typ") != TYPE:
            raise InvalidIdentity("It is a token of another kind.")
        key = keys.get(str(head.get("kid")))
        if key is None:
            raise UnknownKey("The key that signed it is not known.")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            audience=audience,
            issuer=issuer,
            leeway=leeway,
            options={"require": _REQUIRED, "strict_aud": True},
        )
    except jwt.PyJWTError as error:
        raise InvalidIdentity(f"The token cannot be believed: {error}") from error
    # Whatever its own end says: nobody may issue one that lives for a year.
    if claims["iat"] < time.time() - ttl - leeway:
        raise InvalidIdentity("The token is too old.")
    return claims


class UnknownKey(InvalidIdentity):
    """It may be a newer key than those that were read."""


def keys_view(request: HttpRequest) -> HttpResponseBase:
    """``strangler/keys.json``: who signs identities here."""
    response = JsonResponse(jwk_set())
    response["Cache-Control"] = "public, max-age=300"
    return response


class KeySet:
    """The keys at a URL, fetched when one is not known, and not too often."""

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, Any]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self.keys: Mapping[str, Ed25519PublicKey] = {}

    def refreshed(self) -> bool:
        """Read the keys again; False if that was done a moment ago, or fails."""
        with self._lock:
            if self._clock() - self._asked < REFETCH:
                return False
            self._asked = self._clock()
        try:
            self.keys = parse_jwk_set(self._fetch())
        except Exception:  # noqa: BLE001  Whatever it is, the known keys stay.
            from .hints import logger

            logger.warning("The keys of identities cannot be read.", exc_info=True)
            return False
        return True


def parse_jwk_set(given: Mapping[str, Any]) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 keys of a JWK set by id; others are left out."""
    found = {}
    for each in given["keys"]:
        if each.get("kty") == "OKP" and each.get("crv") == "Ed25519":
            x = each["x"]
            raw = base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))
            found[str(each["kid"])] = Ed25519PublicKey.from_public_bytes(raw)
    return found


def _fetched(url: str) -> Mapping[str, Any]:
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}"
    keys = Service("strangler-keys", ServiceSettings(url=base))
    found: Mapping[str, Any] = keys.get(parts.path, raise_for_status=True).json()
    return found


@lru_cache(maxsize=8)
def _key_set(url: str) -> KeySet:
    return KeySet(lambda: _fetched(url))


def identify(request: HttpRequest) -> Identity:
    """Whom a request is for; InvalidIdentity for a token that cannot be believed."""
    token = request.META.get("HTTP_STRANGLER_IDENTITY", "")
    if not token:
        return ANONYMOUS
    known = settings()
    if not known.audience:
        raise ConfigurationError(
            "STRANGLER['IDENTITY']['AUDIENCE'] is not set. Give it the name that "
            "callers have for this service."
        )

    def claims_by(keys: Mapping[str, Ed25519PublicKey]) -> dict[str, Any]:
        return verify(
            token,
            keys,
            audience=known.audience,
            issuer=known.issuer,
            leeway=known.leeway,
            ttl=known.ttl,
        )

    if known.keys_url:
        keys = _key_set(known.keys_url)
        try:
            claims = claims_by(keys.keys)
        except UnknownKey:
            if not keys.refreshed():
                raise
            claims = claims_by(keys.keys)
    else:
        claims = claims_by({key.id: key.public for key in own_keys(known.keys)})
    _check_request(request, claims)
    if known.once and request.method not in SAFE_METHODS:
        seconds = known.ttl + 2 * known.leeway
        if not caches[known.once].add(f"strangler:jti:{claims['jti']}", 1, seconds):
            raise InvalidIdentity("The token was used before.")
    return Identity(subject=claims["sub"], claims=claims)


def _check_request(request: HttpRequest, claims: Mapping[str, Any]) -> None:
    if request.method in SAFE_METHODS:
        return
    if claims.get("htm") != request.method:
        raise InvalidIdentity("The token is for another request.")
    # Compared without its escapes, which servers undo in different ways.
    from urllib.parse import unquote

    path = unquote(str(claims.get("htu", "")).partition("?")[0])
    if path != request.path:
        raise InvalidIdentity("The token is for another request.")


class IdentityMiddleware:
    """
    Sets ``request.identity`` from the header, and refuses what it cannot believe.

    Nobody in particular is ANONYMOUS: each view decides whether that is enough.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            request.identity = identify(request)  # type: ignore[attr-defined]
        except InvalidIdentity as error:
            body = {
                "type": "about:blank",
                "title": "Unauthorized",
                "detail": str(error),
            }
            return JsonResponse(
                body, status=401, content_type="application/problem+json"
            )
        return self.get_response(request)
