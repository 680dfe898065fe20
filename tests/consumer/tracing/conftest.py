"""What is traced, and by whom."""

from __future__ import annotations

from functools import partial

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.pika import PikaInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def db(request, make_db, routed):
    """Made at once, unless a test names the databases that it is about."""
    return routed(make_db(getattr(request, "param", "sqlite")))


@pytest.fixture
def consume(consume):
    """Each delivery is tried once."""
    return partial(consume, given={"in_place": ()})


@pytest.fixture
def provider(monkeypatch):
    """A tracer provider of the test's own: the global one can be set only once."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def spans(provider):
    """What has ended, by name, when it is asked."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


@pytest.fixture
def instrumented(provider):
    """Everything that a project may have instrumented."""
    all = [PikaInstrumentor(), PsycopgInstrumentor(), CeleryInstrumentor()]
    for each in all:
        each.instrument(tracer_provider=provider, skip_dep_check=True)
    DjangoInstrumentor().instrument(
        tracer_provider=provider, is_sql_commentor_enabled=False
    )
    yield
    for each in [*all, DjangoInstrumentor()]:
        each.uninstrument()
