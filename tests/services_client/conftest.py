from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from django_strangler.feature_flags import evaluation
from django_strangler.services import breakers, client
from django_strangler.services.client import Service

from .servers import Handler, Server, serving


@pytest.fixture(autouse=True)
def nothing_known(db: None) -> Iterator[None]:
    """No breaker and no connection of another test."""
    from django.core.cache import caches

    breakers.registry.forget()
    client._services.clear()
    caches["default"].clear()
    yield
    for each in client._services.values():
        if each._transport is not None:
            each._transport[1].close()
    client._services.clear()
    breakers.registry.forget()
    evaluation.overrides.clear()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], Server]]:
    with contextlib.ExitStack() as stack:
        yield lambda handler: stack.enter_context(serving(handler))


Connect = Callable[..., Service]


@pytest.fixture
def connect(settings: Any) -> Connect:
    """connect(server, TIMEOUT=0.5): the service "payments" at that server."""

    def connect(server: Server | str, **options: Any) -> Service:
        url = server if isinstance(server, str) else server.url
        settings.STRANGLER = {"SERVICES": {"payments": {"URL": url, **options}}}
        return client.service("payments")

    return connect


@pytest.fixture
def override_flag() -> Any:
    from django_strangler.testing import override_flag

    return override_flag


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What was traced in this test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter.get_finished_spans


def new_private_key() -> str:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return pem.decode()


@pytest.fixture
def private_key() -> str:
    return new_private_key()
