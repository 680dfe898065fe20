'use strict';

// Copies of the monolith's users, by docs/reference/moves.md of django-strangler: each
// event has a row's state, and a greater position is a later one.
const { DatabaseError } = require('pg');
const { Consumer } = require('./consuming');
const { Outage } = require('./errors');
const { inTransaction } = require('./store');

const QUEUE = 'payments-copies';
// By type of event: the table, and by its columns what a row calls them.
const COPIES = {
  'user.changed': { table: 'payments_service_user', columns: { is_active: 'isActive' } },
  'identity-check.changed': {
    table: 'payments_service_check',
    columns: { user_id: 'userId', status: 'status' },
  },
};
// Positions are kept of what is gone, whose columns are NULL: nothing late revives it.
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS payments_service_user (
    id bigint PRIMARY KEY, position bigint NOT NULL, is_active boolean
  );
  CREATE TABLE IF NOT EXISTS payments_service_check (
    id bigint PRIMARY KEY, position bigint NOT NULL, user_id bigint, status text
  );
  CREATE INDEX IF NOT EXISTS payments_service_check_user ON payments_service_check (user_id);`;

/** Create the tables; several processes may try at once. */
const migrate = (pool) => pool.query(`SELECT pg_advisory_xact_lock(8007); ${SCHEMA}`);

/** Let the copy be as the event says, unless it is newer: once or often is the same. */
function apply(client, type, { id, position, row }) {
  const { table, columns } = COPIES[type];
  const names = ['position', ...Object.keys(columns)];
  const values = Object.values(columns).map((name) => (row === null ? null : row[name]));
  const marks = names.map((_, n) => `$${n + 2}`);
  return client.query(
    `INSERT INTO ${table} (id, ${names.join(', ')}) VALUES ($1, ${marks.join(', ')})
     ON CONFLICT (id) DO UPDATE SET ${names.map((name) => `${name} = excluded.${name}`).join(', ')}
     WHERE ${table}.position < excluded.position`,
    [id, position, ...values],
  );
}

/**
 * Nobody asks again for a copy: whatever the database says, its event waits for better days.
 *
 * Without `atWork`, as what returns to the queue too often is dropped.
 */
const waits = (error) => {
  throw error instanceof Outage || error instanceof DatabaseError ? new Outage(error) : error;
};

const copies = ({ url, pool }) =>
  new Consumer({
    url,
    queue: QUEUE,
    types: Object.keys(COPIES),
    handle: ({ content, properties: { type } }) => {
      const payload = JSON.parse(content);
      return inTransaction(pool, (client) => apply(client, type, payload)).catch(waits);
    },
  });

module.exports = { apply, copies, migrate };
