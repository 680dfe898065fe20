'use strict';

// A participant of sagas, as docs/reference/sagas.md of django-strangler wants it: each
// thing is done once, only what was done is undone, and a late command is refused.
const { Refusal } = require('./errors');
const { publish } = require('./outbox');

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS payments_service_inbox (
    message_id uuid PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp()
  );
  CREATE TABLE IF NOT EXISTS payments_service_act (
    op uuid,
    direction text,
    outcome text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (op, direction)
  );`;

/** Create the tables; several processes may try at once. */
const migrate = (pool) => pool.query(`SELECT pg_advisory_xact_lock(8006); ${SCHEMA}`);

/**
 * Do what a command asks for, and reply, in the client's transaction.
 *
 * A command has a message's id, `headers` and `payload`; `work` may throw a `Refusal`.
 */
async function take(client, { id, headers, payload }, { direction, work }) {
  const { rowCount } = await client.query(
    'INSERT INTO payments_service_inbox (message_id) VALUES ($1) ON CONFLICT DO NOTHING',
    [id],
  );
  if (rowCount === 0) return; // The broker has brought it before.
  const op = headers['strangler-saga-op'];
  const must = headers['strangler-saga-must'] === true;
  const { outcome, data } = await once(client, { op, direction, must }, () => work(client, payload));
  const reason = outcome === 'refused' ? (data.reason ?? 'It is undone already.') : '';
  const own = Object.entries(headers).filter(([name]) => isOwn(name));
  await publish(
    client,
    'saga.reply',
    { outcome, data, reason },
    { key: headers['strangler-saga'], headers: Object.fromEntries(own) },
  );
}

const isOwn = (name) => name === 'strangler-saga' || name.startsWith('strangler-saga-');

/** The barrier. */
async function once(client, { op, direction, must }, work) {
  if (!(await claim(client, op, direction, ''))) {
    const known = await act(client, op, direction);
    // The saga cannot go another way: what was refused before is tried again.
    if (!(must && known.outcome === 'refused')) {
      const isLate = direction === 'do' && known.outcome === 'null';
      return isLate ? { outcome: 'refused', data: {} } : known;
    }
  } else if (direction === 'undo') {
    const neverCame = await claim(client, op, 'do', 'null');
    if (neverCame || (await act(client, op, 'do')).outcome !== 'done') {
      return remember(client, op, direction, { outcome: 'null', data: {} });
    }
  }
  return remember(client, op, direction, await tried(client, direction, work));
}

/** What was refused has left nothing behind. */
async function tried(client, direction, work) {
  await client.query('SAVEPOINT work');
  try {
    const data = await work();
    return direction === 'do' ? { outcome: 'done', data: data ?? {} } : { outcome: 'undone', data: {} };
  } catch (error) {
    if (!(error instanceof Refusal) || error.status >= 500) throw error;
    await client.query('ROLLBACK TO SAVEPOINT work');
    const reason = Object.values(error.body.errors ?? {}).flat().join(' ');
    return { outcome: 'refused', data: { reason: reason || error.message } };
  }
}

async function claim(client, op, direction, outcome) {
  const { rowCount } = await client.query(
    `INSERT INTO payments_service_act (op, direction, outcome) VALUES ($1, $2, $3)
     ON CONFLICT DO NOTHING`,
    [op, direction, outcome],
  );
  return rowCount === 1;
}

async function act(client, op, direction) {
  const { rows } = await client.query(
    'SELECT outcome, data FROM payments_service_act WHERE op = $1 AND direction = $2 FOR UPDATE',
    [op, direction],
  );
  return rows[0];
}

async function remember(client, op, direction, { outcome, data }) {
  await client.query(
    'UPDATE payments_service_act SET outcome = $3, data = $4 WHERE op = $1 AND direction = $2',
    [op, direction, outcome, data],
  );
  return { outcome, data };
}

module.exports = { migrate, take };
