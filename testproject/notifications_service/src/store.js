'use strict';

const { DatabaseError, Pool } = require('pg');

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS inbox (
    message_id uuid PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT clock_timestamp()
  );
  CREATE TABLE IF NOT EXISTS mails (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL REFERENCES inbox,
    user_id bigint NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    sent_at timestamptz -- By whoever sends what lies here.
  );`;

// Milliseconds. A server that says nothing any more must not hold up the end of the process.
const PATIENCE = { connectionTimeoutMillis: 5_000, query_timeout: 10_000 };

/** Connections to the database; losing one must not end the process. */
function openPool(connectionString, log = console, patience = PATIENCE) {
  const pool = new Pool({ connectionString, max: 20, ...patience });
  pool.on('error', (error) => log.error(`PostgreSQL: ${error.message}`)); // An idle one.
  pool.on('connect', (client) => client.on('error', () => {})); // Its next query fails.
  return pool;
}

/** The database is to blame, and not what it was asked. */
class Outage extends Error {}

/** Create the tables; several processes may try at once. */
async function migrate(pool) {
  try {
    await pool.query(`SELECT pg_advisory_xact_lock(8005); ${SCHEMA}`);
  } catch (error) {
    throw asOutage(error);
  }
}

/**
 * Record the event and write its mail, both or neither; says whether it was new.
 *
 * The record comes first: the same event at the same time waits here for the other.
 */
async function recordOnce(pool, event, mail) {
  let client;
  let broken;
  try {
    client = await pool.connect();
    await client.query('BEGIN');
    const { rowCount } = await client.query(
      'INSERT INTO inbox (message_id) VALUES ($1) ON CONFLICT DO NOTHING',
      [event.id],
    );
    if (rowCount === 1) {
      await client.query(
        'INSERT INTO mails (message_id, user_id, subject, body) VALUES ($1, $2, $3, $4)',
        [event.id, mail.userId, mail.subject, mail.body],
      );
    }
    await client.query('COMMIT');
    return rowCount === 1;
  } catch (error) {
    broken = error;
    throw asOutage(error);
  } finally {
    client?.release(broken); // With an error, the connection is closed, and rolls back.
  }
}

// By SQLSTATE: connection, a standby after a failover, who may log in, a database that is
// being restored, deadlock, resources, a lock, an operator or a timeout, the disk.
const OUTAGE = /^(08|25006|28|3D|40|53|55P03|57|58)/;

function asOutage(error) {
  // What the server did not say comes from the connection.
  const isOutage = !(error instanceof DatabaseError) || OUTAGE.test(error.code);
  return isOutage ? new Outage(error.message, { cause: error }) : error;
}

module.exports = { Outage, migrate, openPool, recordOnce };
