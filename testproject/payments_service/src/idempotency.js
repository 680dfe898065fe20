'use strict';

// The same keys as the monolith's @idempotent, in the same table: a request that the
// facade sends to the other side in its need finds what this side has done. The table
// moves along with the payments'.
const { createHash } = require('node:crypto');
const { Refusal } = require('./errors');
const { asAscii } = require('./outbox');

const TABLE = 'payments_paymentrequest';
const WAIT = '2s';
const RETENTION = '7 days';
const FINISHED = 2;
const NOT_KEPT = new Set([401, 403, 408, 409, 423, 425, 429]);

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

function problem(status, type, title, detail, headers) {
  const body = { type: `urn:django-strangler:idempotency:${type}`, title, status, detail };
  return new Refusal(status, body, { 'Content-Type': 'application/problem+json', ...headers });
}

/** The key in the header, quotes taken off; null without one. */
function readKey(header) {
  if (header === undefined) return null;
  const text = header.trim();
  const quoted = /^"((?:[!#-[\]-~]|\\["\\])*)"$/.exec(text);
  const key = quoted ? quoted[1].replace(/\\(.)/g, '$1') : text;
  if ((!quoted && !/^[!#-+\--~][!-+\--~]*$/.test(text)) || key.length < 1 || key.length > 255) {
    throw problem(400, 'key-invalid', 'Bad key', 'The key is not 1 to 255 visible ASCII characters.');
  }
  return key;
}

/** A list of texts, as Python writes it. */
const list = (texts) => `[${texts.map((text) => asAscii(JSON.stringify(text))).join(', ')}]`;

function fingerprint(request) {
  const query = [...request.query.entries()].sort((a, b) => (list(a) < list(b) ? -1 : 1));
  const pairs = `[${query.map(list).join(', ')}]`;
  const type = (request.headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
  return sha256(list([request.method, request.path, pairs, type, sha256(request.body)]));
}

/**
 * Run the work once for a key: claim, effect and answer are one transaction.
 *
 * The claim waits for another request with the same key; if that rolled back, this one
 * is the first.
 */
async function once(client, request, scope, work) {
  const key = readKey(request.headers['idempotency-key']);
  if (key === null) return work();
  const digest = sha256(`${scope}\x1f${key}`);
  const print = fingerprint(request);
  await client.query(`SET LOCAL lock_timeout = '${WAIT}'`);
  let claimed;
  try {
    claimed = await client.query(
      `INSERT INTO ${TABLE}
         (digest, scope, key, fingerprint, route, state, created_at, expires_at)
       VALUES ($1, $2, $3, $4, $5, 1, clock_timestamp(), clock_timestamp() + $6::interval)
       ON CONFLICT (digest) DO NOTHING`,
      [digest, scope, key, print, request.path, RETENTION],
    );
  } catch (error) {
    if (error.code !== '55P03') throw error;
    const text = 'A request with this key is being worked on. Try again.';
    throw problem(409, 'in-progress', 'In progress', text, { 'Retry-After': '1' });
  }
  await client.query("SET LOCAL lock_timeout = '0'");
  if (claimed.rowCount === 0) return replay(client, digest, print);
  let answer;
  try {
    answer = await work();
  } catch (error) {
    if (!(error instanceof Refusal) || error.status >= 500 || NOT_KEPT.has(error.status)) {
      throw error; // Rolled back: the next one with this key is the first.
    }
    answer = { status: error.status, body: error.body, headers: error.headers };
  }
  const body = Buffer.from(JSON.stringify(answer.body));
  await client.query(
    `UPDATE ${TABLE}
     SET state = ${FINISHED}, status = $2, headers = $3, body = $4, finished_at = clock_timestamp()
     WHERE digest = $1`,
    [digest, answer.status, JSON.stringify({ 'Content-Type': 'application/json' }), body],
  );
  return answer;
}

async function replay(client, digest, print) {
  const { rows } = await client.query(
    `SELECT fingerprint, status, headers, body
     FROM ${TABLE} WHERE digest = $1`,
    [digest],
  );
  if (rows[0].fingerprint !== print) {
    throw problem(422, 'key-reused', 'Key reused', 'The key was used for another request.');
  }
  return {
    status: rows[0].status,
    headers: { ...rows[0].headers, 'Idempotent-Replayed': 'true' },
    raw: rows[0].body,
  };
}

module.exports = { fingerprint, once, readKey };
