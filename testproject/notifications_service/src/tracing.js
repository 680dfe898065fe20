'use strict';

// Loaded before everything else (node --require): what is instrumented must not have
// been loaded yet, or it silently is not traced.
const fs = require('node:fs');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { AmqplibInstrumentation } = require('@opentelemetry/instrumentation-amqplib');
const { PgInstrumentation } = require('@opentelemetry/instrumentation-pg');
const {
  BatchSpanProcessor,
  ConsoleSpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
} = require('@opentelemetry/sdk-trace-node');

/** One line of JSON per span; for tests, and for looking at them without a server. */
class FileExporter {
  constructor(path) {
    this.path = path;
  }

  export(spans, done) {
    const lines = spans.map((span) => {
      const { traceId, spanId } = span.spanContext();
      const { name, kind, attributes } = span;
      const parentId = span.parentSpanContext?.spanId ?? null;
      const [start, end] = [span.startTime, span.endTime].map(([s, ns]) => s + ns / 1e9);
      const line = { name, kind, traceId, spanId, parentId, start, end, attributes };
      return `${JSON.stringify(line)}\n`;
    });
    try {
      // In the order in which they ended: a start is known to the millisecond only.
      fs.appendFileSync(this.path, lines.join(''));
      done({ code: 0 });
    } catch (error) {
      done({ code: 1, error });
    }
  }

  async shutdown() {}
}

function processors(env) {
  const chosen = [];
  if (env.OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) {
    const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-http');
    chosen.push(new BatchSpanProcessor(new OTLPTraceExporter()));
  }
  if (env.TRACES_FILE) {
    chosen.push(new SimpleSpanProcessor(new FileExporter(env.TRACES_FILE)));
  }
  if (env.OTEL_TRACES_EXPORTER === 'console') {
    chosen.push(new SimpleSpanProcessor(new ConsoleSpanExporter()));
  }
  return chosen;
}

// The name of the service in traces is OTEL_SERVICE_NAME.
process.env.OTEL_SERVICE_NAME ??= 'notifications-service';
const provider = new NodeTracerProvider({ spanProcessors: processors(process.env) });
provider.register();
registerInstrumentations({
  tracerProvider: provider,
  instrumentations: [
    new AmqplibInstrumentation(),
    new PgInstrumentation({ requireParentSpan: true }),
  ],
});

module.exports = { provider };
