'use strict';

const http = require('node:http');
const { Outage, Refusal, notFound } = require('./errors');
const { once } = require('./idempotency');
const payments = require('./payments');

const LARGEST = 1024 * 1024;

const ID = /^\/payments\/(\d{1,18})\/$/;
const ACTION = /^\/payments\/(\d{1,18})\/(complete|fail|refund)\/$/;

/** What a request asks for: allowed methods, and the work in a transaction. */
function route({ path, query, body }) {
  if (path === '/payments/') {
    return {
      GET: (client) => payments.list(client, query),
      POST: (client, users) => payments.create(client, body, users),
    };
  }
  let found = ID.exec(path);
  if (found) return { GET: (client) => payments.detail(client, found[1]) };
  found = ACTION.exec(path);
  if (found) return { POST: (client) => payments[found[2]](client, found[1], body) };
  throw notFound();
}

/** Whose idempotency keys these are, in the words of the monolith's `caller`: see monolith/api.py. */
const scopeOf = (subject) => (subject ? `user:${subject}` : 'api');

async function handle(request, { homes, bugs, verifier }) {
  const subject = await verifier?.identify(request);
  await bugs.before();
  const methods = route(request);
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const work = methods[method];
  if (!work) throw new Refusal(405, {}, { Allow: Object.keys(methods).join(', ') });
  const { users } = homes;
  const answer = await (method === 'POST'
    ? homes.write((client) => once(client, request, scopeOf(subject), () => work(client, users)))
    : homes.read((client) => work(client)));
  return bugs.after(answer);
}

async function bodyOf(incoming) {
  const chunks = [];
  let size = 0;
  for await (const chunk of incoming) {
    size += chunk.length;
    if (size > LARGEST) throw new Refusal(413, { errors: { __all__: ['Too large.'] } });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function read(incoming) {
  const [raw, query = ''] = incoming.url.split(/\?(.*)/s);
  let path;
  try {
    path = decodeURIComponent(raw);
  } catch {
    throw notFound();
  }
  const { method, headers } = incoming;
  const body = await bodyOf(incoming);
  return { method, headers, path, query: new URLSearchParams(query), body };
}

function send(outgoing, { status, body, raw, headers = {} }, method) {
  const content = raw ?? Buffer.from(JSON.stringify(body));
  outgoing.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': content.length,
    ...headers,
  });
  outgoing.end(method === 'HEAD' ? undefined : content);
}

/** What went wrong, as an answer. A database that is away is no mistake: try again. */
function apology(error) {
  if (error instanceof Refusal) return error;
  return { status: error instanceof Outage ? 503 : 500, body: { errors: {} } };
}

/** A server of the payments API. `work` has homes, bugs and, if there is one, a verifier. */
function createServer(work, log = console) {
  const server = http.createServer(async (incoming, outgoing) => {
    const reply = (answer) => {
      // Else a proxy that keeps its connection busy would keep us from ending.
      if (!server.listening) outgoing.setHeader('Connection', 'close');
      send(outgoing, answer, incoming.method);
    };
    try {
      const request = await read(incoming);
      if (request.path === '/__bugs' && work.bugs.isOpen) {
        const on = request.method === 'PUT' ? work.bugs.set(JSON.parse(request.body)) : work.bugs.on;
        reply({ status: 200, body: on });
        return;
      }
      reply(await handle(request, work));
    } catch (error) {
      if (!(error instanceof Refusal)) log.error(error);
      if (!outgoing.headersSent) reply(apology(error));
      else outgoing.destroy();
    }
  });
  return server;
}

module.exports = { createServer };
