"""Issuing: whom a call is for, said in a token that only we can sign."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django_strangler import conf as strangler_conf
from django_strangler.exceptions import ConfigurationError
from django_strangler.extras import extra

from .conf import identity as settings
from .errors import InvalidIdentity
from .retries import SAFE_METHODS

with extra("services"):
    import jwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

HEADER = "Strangler-Identity"
TYPE = "strangler-identity+jwt"
MAX_BYTES = 2048  # Proxies have buffers of 4 KiB for all headers.


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    private: Ed25519PrivateKey | None
    public: Ed25519PublicKey


def headers_for(
    user: Any, audience: str, *, method: str | None = None, target: str | None = None
) -> dict[str, str]:
    """The header with a token, or none: without keys no identity is sent."""
    if not settings().keys:
        return {}
    token = issue_identity(user, audience, method=method, path=target)
    return {HEADER: token} if token else {}


def issue_identity(
    user: Any,
    audience: str,
    *,
    act: Any = None,
    claims: Mapping[str, Any] | None = None,
    method: str | None = None,
    path: str | None = None,
) -> str:
    """
    A token that tells the service ``audience`` whom it acts for; empty for nobody.

    ``user`` is a user or a request. ``act`` is who really does it, when staff act as a
    user. ``claims`` are added: keep them few, and no secrets.
    """
    session = getattr(user, "session", None)
    user = getattr(user, "user", user)
    if user is None or user.pk is None or not user.is_active:
        return ""
    (signing, *_) = own_keys(settings().keys)
    now = int(time.time())
    payload: dict[str, Any] = {
        **(claims or {}),
        "iss": strangler_conf.current().source,
        "aud": audience,
        "sub": str(user.pk),
        "iat": now,
        "exp": now + int(settings().ttl),
        "jti": secrets.token_urlsafe(12),
    }
    if session is not None and session.session_key:
        # For logs: it tells sessions apart, and cannot be turned back into one.
        digest = hashlib.sha256(session.session_key.encode()).digest()
        payload["sid"] = base64.urlsafe_b64encode(digest[:9]).decode()
    if act is not None:
        payload["act"] = {"sub": str(act.pk)}
    if method is not None and path is not None and method not in SAFE_METHODS:
        payload["htm"], payload["htu"] = method, path
    token = jwt.encode(
        payload,
        signing.private,  # type: ignore[arg-type]
        algorithm="EdDSA",
        headers={"typ": TYPE, "kid": signing.id},
    )
    if len(token) > MAX_BYTES:
        raise InvalidIdentity(
            f"The identity is {len(token)} bytes, and {MAX_BYTES} is the limit of what "
            "proxies let through. Add fewer claims."
        )
    return token


def jwk_set() -> dict[str, Any]:
    """The public halves of all keys, as RFC 7517 has them."""
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": key.id,
                "x": _base64(_raw(key.public)),
            }
            for key in own_keys(settings().keys)
        ]
    }


@lru_cache(maxsize=8)
def own_keys(pems: tuple[str, ...]) -> tuple[Key, ...]:
    return tuple(_own_key(number, pem) for number, pem in enumerate(pems))


def _own_key(number: int, pem: str) -> Key:
    problem = (
        f"STRANGLER['IDENTITY']['KEYS'][{number}] is not a private Ed25519 key in PEM. "
        "Make one with: openssl genpkey -algorithm ed25519"
    )
    try:
        private = load_pem_private_key(pem.encode(), None)
    except (TypeError, ValueError):
        raise ConfigurationError(problem) from None  # Its words may quote the key.
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigurationError(problem)
    public = private.public_key()
    return Key(_thumbprint(public), private, public)


def _thumbprint(public: Ed25519PublicKey) -> str:
    """RFC 7638: the same key has the same id wherever it is read."""
    text = json.dumps(
        {"crv": "Ed25519", "kty": "OKP", "x": _base64(_raw(public))},
        separators=(",", ":"),
    )
    return _base64(hashlib.sha256(text.encode()).digest()[:12])


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
