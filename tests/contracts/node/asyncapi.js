'use strict';

// Reads an AsyncAPI document from standard input and prints what is wrong with it.
const { Parser } = require('@asyncapi/parser');

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const { document, diagnostics } = await new Parser().parse(Buffer.concat(chunks).toString());
  const errors = diagnostics
    .filter(({ severity }) => severity === 0)
    .map(({ message, path }) => `${path.join('.')}: ${message}`);
  const messages = document ? document.allMessages().all().map((each) => each.id()) : [];
  console.log(JSON.stringify({ errors, messages }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
