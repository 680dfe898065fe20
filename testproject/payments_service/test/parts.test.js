'use strict';

const assert = require('node:assert/strict');
const { generateKeyPairSync, sign } = require('node:crypto');
const { once } = require('node:events');
const http = require('node:http');
const { test } = require('node:test');
const { Client } = require('pg');
const { Bugs } = require('../src/bugs');
const { Outage } = require('../src/errors');
const { fingerprint, readKey } = require('../src/idempotency');
const { Verifier } = require('../src/identity');
const { asAscii } = require('../src/outbox');
const { createServer } = require('../src/server');
const { inTransaction } = require('../src/store');

test('a payload is ASCII, and the same JSON', () => {
  const payload = { name: 'ä 😀 \u007f' };

  const text = asAscii(JSON.stringify(payload));

  assert.match(text, /^[\x20-\x7e]*$/);
  assert.deepEqual(JSON.parse(text), payload);
});

test('a key may be in quotation marks', () => {
  assert.equal(readKey('order-17'), 'order-17');
  assert.equal(readKey('"order-17"'), 'order-17');
  assert.equal(readKey('"a,\\"b"'), 'a,"b');
  assert.equal(readKey(undefined), null);
  for (const bad of ['', 'a b', 'a,b', '"open', 'x'.repeat(256)]) {
    assert.throws(() => readKey(bad), { status: 400 });
  }
});

test('the order of a query does not make another request', () => {
  const request = (query) => ({
    method: 'POST',
    path: '/payments/',
    query: new URLSearchParams(query),
    headers: {},
    body: Buffer.from('{}'),
  });

  assert.equal(fingerprint(request('a=1&b=2')), fingerprint(request('b=2&a=1')));
  assert.notEqual(fingerprint(request('a=1')), fingerprint(request('a=2')));
});

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const NOW = 1_800_000_000;

function token(claims = {}, head = {}, key = privateKey) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = [
    encode({ typ: 'strangler-identity+jwt', alg: 'EdDSA', kid: 'k', ...head }),
    encode({ iss: 'monolith', aud: 'payments', sub: '7', iat: NOW, exp: NOW + 60, ...claims }),
  ].join('.');
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}

let fetched = 0;
const verifier = () =>
  new Verifier({
    audience: 'payments',
    fetchKeys: async () => {
      fetched += 1;
      return { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k' }] };
    },
  });
const request = (text, method = 'GET', path = '/payments/') => ({
  method,
  path,
  headers: text ? { 'strangler-identity': text } : {},
});

test('a token names its user, and no token nobody', async () => {
  assert.equal(await verifier().identify(request(token()), NOW), '7');
  assert.equal(await verifier().identify(request(''), NOW), null);
});

test('what cannot be believed is refused', async () => {
  const other = generateKeyPairSync('ed25519').privateKey;
  for (const bad of [
    token({ aud: 'notifications' }),
    token({ aud: ['payments'] }),
    token({ iss: 'somebody' }),
    token({ exp: NOW - 10 }),
    token({ iat: NOW - 100, exp: NOW + 1000 }),
    token({ iat: NOW + 100, exp: NOW + 160 }),
    token({ sub: 7 }),
    token({}, { typ: 'JWT' }),
    token({}, { alg: 'none' }),
    token({}, { kid: 'unknown' }),
    token({}, {}, other),
    `${token().slice(0, -4)}AAAA`,
    'a.b.c',
    'bnVsbA.bnVsbA.AAAA',
    'bnVsbA',
    '.',
  ]) {
    await assert.rejects(verifier().identify(request(bad), NOW), { status: 401 }, bad);
  }
});

test('a token for an unsafe request is for that one only', async () => {
  const text = token({ htm: 'POST', htu: '/payments/?a=b' });

  assert.equal(await verifier().identify(request(text, 'POST'), NOW), '7');
  await assert.rejects(verifier().identify(request(text, 'POST', '/x/'), NOW), { status: 401 });
  await assert.rejects(verifier().identify(request(token(), 'POST'), NOW), { status: 401 });
});

test('unknown keys are not asked for all the time', async () => {
  const one = verifier();
  fetched = 0;
  for (let second = 0; second < 60; second++) {
    const text = token({ iat: NOW + second, exp: NOW + second + 60 }, { kid: 'unknown' });
    await assert.rejects(one.identify(request(text), NOW + second));
  }
  assert.equal(fetched, 2);
});

test('a bug makes an answer wrong', async () => {
  const bugs = new Bugs();
  bugs.set({ wrong: 1, nonsense: 1 });

  const wrong = bugs.after({ status: 200, body: { amount: '9.99', completed_at: null } });

  assert.deepEqual(wrong.body, { amount: '9.90' });
  assert.deepEqual(bugs.set(null), { errors: 0, slow: 0, wrong: 0, crash: false });
});

test('a server that is to end lets go of who keeps asking', { timeout: 60_000 }, async () => {
  const bugs = new Bugs();
  bugs.set({ slow: 50 });
  const server = createServer({ bugs });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const { port } = server.address();
  const asked = once(server, 'request');
  const answered = new Promise((resolve) => {
    http.get({ agent, port, path: '/nowhere' }, (answer) => resolve(answer.resume()));
  });
  await asked;

  const ended = once(server, 'close');
  server.close();

  assert.equal((await answered).headers.connection, 'close');
  await ended; // Or the time runs out.
});

test('a database that says nothing is away, and its connection is let go', async () => {
  const silent = new Client({ query_timeout: 1 }); // Connected to nothing.
  const released = [];
  const pool = {
    connect: async () => ({
      query: async (text) => (text === 'SELECT 1' ? silent.query(text) : {}),
      release: (broken) => released.push(broken instanceof Error),
    }),
  };

  const asked = inTransaction(pool, (client) => client.query('SELECT 1'));

  await assert.rejects(asked, (error) => error instanceof Outage && error.atWork);
  assert.deepEqual(released, [true]);
});
