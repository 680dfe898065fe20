"""
Runs a command of the monolith, or serves it over HTTP, with tracing set up.

    python -m tests.end_to_end.traced serve 8000
    python -m tests.end_to_end.traced drain_outbox

Spans go, one line of JSON each, to TRACES_FILE: as a deployment would set up an SDK and
opentelemetry-instrumentation-django, without a server to send them to.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)


class FileExporter(SpanExporter):
    def __init__(self, path: str) -> None:
        self.path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(self.path, "a") as file:
            for span in spans:
                context, parent = span.get_span_context(), span.parent
                line = {
                    "name": span.name,
                    "kind": span.kind.value,
                    "traceId": f"{context.trace_id:032x}",
                    "spanId": f"{context.span_id:016x}",
                    "parentId": f"{parent.span_id:016x}" if parent else None,
                    "start": (span.start_time or 0) / 1e9,
                    "end": (span.end_time or 0) / 1e9,
                    "attributes": dict(span.attributes or {}),
                }
                file.write(json.dumps(line) + "\n")
        return SpanExportResult.SUCCESS


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "monolith.settings")
    provider = TracerProvider()
    provider.add_span_processor(
        SimpleSpanProcessor(FileExporter(os.environ["TRACES_FILE"]))
    )
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument()
    if os.environ.get("TRACED_SQL"):
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

        PsycopgInstrumentor().instrument()
    if sys.argv[1] == "serve":
        from monolith.wsgi import application

        make_server(
            "127.0.0.1",
            int(sys.argv[2]),
            application,
            server_class=Server,
            handler_class=Silent,
        ).serve_forever()
    else:
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
