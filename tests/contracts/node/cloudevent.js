'use strict';

// Reads {headers, body} from standard input and prints the CloudEvent in it. The SDK for
// Node.js knows no AMQP; Knative's headers are those of HTTP.
const { HTTP } = require('cloudevents');

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const event = HTTP.toEvent(JSON.parse(Buffer.concat(chunks)));
  event.validate();
  console.log(JSON.stringify(event));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
